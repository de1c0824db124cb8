//! What a client uploads, piece by piece: a raw body, or the file of a form with fields beside it.
//!
//! Invariant: nothing is read before it is asked for, and no piece is longer than it may be.

use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt;
use prost_reflect::DynamicMessage;
use tonic::codegen::StdError;

use super::form::{Event, Form, FormError, Part};
use crate::compression::Unpacked;
use crate::json::{body, query, request};
use crate::options::Options;
use crate::rules::binding::{Binding, RequestBody};
use crate::rules::field_path::FieldPath;
use crate::status::problem::Rejection;

/// Most data of one message to a service, in bytes: large enough to cost little, small enough that
/// many uploads fit in memory.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// All text fields of a form together, in bytes.
const FIELDS_BYTES_MAX: usize = 64 * 1024;

/// One message to the service.
#[derive(Default)]
pub(super) struct Piece {
    /// Of path, query and form; with the first piece, and behind the last where fields follow.
    pub(super) fields: Option<DynamicMessage>,
    /// With the first piece.
    pub(super) content_type: String,
    pub(super) data: Bytes,
}

pub(super) struct Upload<B> {
    body: Unpacked<Pin<Box<B>>>,
    binding: Arc<Binding>,
    ignores_unknown: bool,
    piece_bytes_max: usize,
    /// Data that has come and was not asked for yet.
    data: Bytes,
    form: Option<Form>,
    /// What was read to see where a field ends.
    ahead: Option<Option<Event>>,
    /// Fields that have been told since the last piece.
    fields: Option<DynamicMessage>,
    content_type: String,
    state: State,
    seen: Vec<FieldPath>,
    fields_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No data yet: of a form its file.
    Before,
    Within,
    /// Of a form, behind the file.
    After,
    Ended,
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes, Error: Into<StdError>>,
{
    pub(super) fn new(binding: &Arc<Binding>, options: &Options, body: B) -> Self {
        Self {
            body: Unpacked::new(Box::pin(body)),
            binding: binding.clone(),
            ignores_unknown: options.json.ignore_unknown_fields,
            piece_bytes_max: PIECE_BYTES_MAX
                .min(options.request_message_bytes_max)
                .max(1),
            data: Bytes::new(),
            form: None,
            ahead: None,
            fields: None,
            content_type: String::new(),
            state: State::Before,
            seen: Vec::new(),
            fields_bytes: 0,
        }
    }

    /// Reads path, query and headers; nothing of the body yet.
    pub(super) fn begin(&mut self, options: &Options, head: &Parts) -> Result<(), Rejection> {
        body::unpack(&head.headers, &mut self.body)?;
        let content_type = content_type(&head.headers)?;
        // Where the body is all there is, a form has no fields to name.
        if matches!(self.binding.body, RequestBody::Field(_)) {
            self.form = Form::of(&content_type).transpose().map_err(refused)?;
        }
        if self.form.is_none() {
            self.content_type = content_type;
        }
        let (path, query) = (head.uri.path(), head.uri.query());
        self.fields = Some(request::message(&self.binding, options, path, query, b"")?);
        Ok(())
    }

    pub(super) fn is_form(&self) -> bool {
        self.form.is_some()
    }

    /// Discards what is left of a refused upload, up to a bound.
    pub(super) async fn drain(&mut self) {
        body::drain(self.body.sent().as_mut()).await;
    }

    /// The next piece; there is at least one.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, Rejection> {
        if self.state == State::Ended {
            return Ok(None);
        }
        while self.data.is_empty() {
            let went_on = match self.form.is_some() {
                true => self.read_form().await?,
                false => self.read_raw().await?,
            };
            if !went_on {
                self.state = State::Ended;
                // An upload without a byte is an upload, too.
                return Ok(self
                    .fields
                    .take()
                    .map(|fields| self.piece(Some(fields), Bytes::new())));
            }
        }
        self.state = State::Within;
        let length = self.data.len().min(self.piece_bytes_max);
        let data = self.data.split_to(length);
        let fields = self.fields.take();
        Ok(Some(self.piece(fields, data)))
    }

    fn piece(&mut self, fields: Option<DynamicMessage>, data: Bytes) -> Piece {
        Piece {
            fields,
            content_type: std::mem::take(&mut self.content_type),
            data,
        }
    }

    async fn read_raw(&mut self) -> Result<bool, Rejection> {
        match self.chunk().await? {
            Some(data) => self.data = data,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Data of the body; `None` at its end.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Rejection> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(body::broken(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Reads on until there is data of the file, or nothing more.
    async fn read_form(&mut self) -> Result<bool, Rejection> {
        loop {
            match self.event().await? {
                Some(Event::Data(data)) => {
                    self.data = data;
                    return Ok(true);
                }
                Some(Event::Part(part)) if self.is_file(&part) => self.begin_file(part)?,
                Some(Event::Part(part)) => {
                    if self.state == State::Within {
                        self.state = State::After;
                    }
                    self.read_field(&part.name).await?;
                }
                None if self.state == State::Before => {
                    return Err(Rejection::bad_request(
                        "invalid_form",
                        "the form has no file",
                    ));
                }
                None => return Ok(false),
            }
        }
    }

    /// The next event of the form; `None` at the end of the body.
    async fn event(&mut self) -> Result<Option<Event>, Rejection> {
        if let Some(event) = self.ahead.take() {
            return Ok(event);
        }
        loop {
            let Some(form) = &mut self.form else {
                return Ok(None);
            };
            if let Some(event) = form.next().map_err(refused)? {
                return Ok(Some(event));
            }
            let is_whole = form.is_whole();
            match (self.chunk().await?, &mut self.form) {
                (Some(data), Some(form)) => form.push(data),
                (None, _) if !is_whole => return Err(refused(FormError::Incomplete)),
                _ => return Ok(None),
            }
        }
    }

    /// More of a part; `None` at its end, which is seen at what follows it.
    async fn field_data(&mut self) -> Result<Option<Bytes>, Rejection> {
        match self.event().await? {
            Some(Event::Data(data)) => Ok(Some(data)),
            other => {
                self.ahead = Some(other);
                Ok(None)
            }
        }
    }

    fn is_file(&self, part: &Part) -> bool {
        let is_named = match &self.binding.body {
            RequestBody::Field(field) => {
                part.name == field.name() || part.name == field.json_name()
            }
            _ => false,
        };
        is_named || part.has_filename
    }

    fn begin_file(&mut self, part: Part) -> Result<(), Rejection> {
        if self.state != State::Before {
            let detail = "the form has more than one file";
            return Err(Rejection::bad_request("invalid_form", detail));
        }
        // RFC 7578 section 4.4.
        self.content_type = part.content_type.unwrap_or_else(|| "text/plain".to_owned());
        self.state = State::Within;
        Ok(())
    }

    /// A text part sets a field, as a query parameter does.
    async fn read_field(&mut self, name: &str) -> Result<(), Rejection> {
        let mut text = BytesMut::new();
        while let Some(data) = self.field_data().await? {
            self.fields_bytes += data.len();
            if self.fields_bytes > FIELDS_BYTES_MAX {
                let detail = format!("the form's fields have more than `{FIELDS_BYTES_MAX}` bytes");
                return Err(Rejection::bad_request("invalid_form", detail));
            }
            text.extend_from_slice(&data);
        }
        let reject = |reason: String| Rejection::field("invalid_form", "form field", name, &reason);
        let text = std::str::from_utf8(&text).map_err(|_| reject("is not utf-8".to_owned()))?;
        let target = query::target(&self.binding, name, self.ignores_unknown).map_err(reject)?;
        if let Some(path) = target {
            let input = &self.binding.rpc.input;
            let fields = self
                .fields
                .get_or_insert_with(|| DynamicMessage::new(input.clone()));
            query::set(&path, text, &mut self.seen, fields).map_err(reject)?;
            self.seen.push(path);
        }
        Ok(())
    }
}

fn content_type(headers: &HeaderMap) -> Result<String, Rejection> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (value, None) = (values.next(), values.next()) else {
        return Err(invalid_content_type());
    };
    match value.map(|value| value.to_str()) {
        None => Ok(String::new()),
        Some(Ok(text)) => Ok(text.to_owned()),
        Some(Err(_)) => Err(invalid_content_type()),
    }
}

fn invalid_content_type() -> Rejection {
    Rejection::bad_request("invalid_content_type", "the content type cannot be read")
}

fn refused(error: FormError) -> Rejection {
    Rejection::bad_request("invalid_form", error.to_string())
}
