//! A request body of many messages: JSON lines or an array to frames of a call, as they come.
//!
//! Invariant: a message is read when the call has room for it. A wrong one breaks the call off, and
//! the client is told which one it was.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Uri};
use http_body::{Body as HttpBody, Frame};
use http_body_util::Full;
use prost_reflect::DynamicMessage;
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::codegen::StdError;

use super::split::{Fault, Form, Splitter};
use crate::compression::Unpacked;
use crate::json::{body, request as message};
use crate::metadata;
use crate::rules::binding::{Binding, RequestBody};
use crate::status::failure::reject;
use crate::status::problem::Rejection;
use crate::translator::Translator;
use crate::upstream::{self, Reply, Upstream};

/// Media types of a JSON text on each line.
pub(crate) const LINES: [&str; 2] = ["application/x-ndjson", "application/jsonl"];

/// Messages whose JSON may itself be an array.
const ARRAYS: [&str; 2] = ["google.protobuf.ListValue", "google.protobuf.Value"];

/// Whether the request's messages come one by one, each on a line.
#[must_use]
pub fn is_lines(headers: &HeaderMap) -> bool {
    body::is_utf8(headers, &LINES)
}

/// What became of the messages of a request: nothing, or a wrong one.
pub(super) struct Verdict(Option<oneshot::Receiver<Rejection>>);

impl Verdict {
    /// Of a request that was read before its call.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Of messages that are read while the call is under way.
    pub(super) fn told_by(receiver: oneshot::Receiver<Rejection>) -> Self {
        Self(Some(receiver))
    }

    /// Pending for as long as, and if, all is well.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Rejection> {
        let Some(receiver) = &mut self.0 else {
            return Poll::Pending;
        };
        match ready!(Pin::new(receiver).poll(cx)) {
            Ok(rejection) => Poll::Ready(rejection),
            Err(_) => {
                self.0 = None;
                Poll::Pending
            }
        }
    }

    pub(super) fn take(&mut self) -> Option<Rejection> {
        self.0.as_mut()?.try_recv().ok()
    }
}

/// The messages of a request, ready to be sent.
///
/// What path and query say is known to be right; so is the type of the body.
pub(super) fn messages<B>(
    translator: &Arc<Translator>,
    binding: &Arc<Binding>,
    head: &Parts,
    body: B,
) -> Result<(Body, Verdict), Rejection>
where
    B: HttpBody<Data = Bytes, Error: Into<StdError>> + Send + 'static,
{
    let reader = Reader {
        translator: Arc::clone(translator),
        binding: Arc::clone(binding),
        uri: head.uri.clone(),
    };
    if matches!(binding.body, RequestBody::None) {
        // The path and the query are a message; there is no place for another.
        let only = reader.frame(b"")?;
        return Ok((Body::new(Full::new(only)), Verdict::none()));
    }
    reader.message(b"")?;
    let form = form(binding, &head.headers, body.is_end_stream())?;
    let mut body = Unpacked::new(Box::pin(body));
    body::unpack(&head.headers, &mut body)?;
    let (sender, receiver) = oneshot::channel();
    let bytes_max = translator.options().request_message_bytes_max;
    let sent = Sent {
        body,
        splitter: Splitter::new(form, bytes_max),
        reader,
        verdict: Some(sender),
        bytes_max,
    };
    Ok((Body::new(sent), Verdict::told_by(receiver)))
}

/// Calls an RPC that answers with one message.
pub(super) async fn call<S: Upstream>(
    translator: &Translator,
    binding: &Binding,
    mut service: S,
    headers: HeaderMap,
    (sent, mut verdict): (Body, Verdict),
) -> Result<Reply, Rejection> {
    let metadata = metadata::request(headers);
    let bytes_max = translator.options().response_message_bytes_max;
    let rpc = &*binding.rpc;
    let reply = tokio::select! {
        biased;
        rejection = std::future::poll_fn(|cx| verdict.poll(cx)) => return Err(rejection),
        reply = upstream::call(&mut service, rpc, metadata, sent, bytes_max) => reply,
    };
    reply.map_err(|failure| verdict.take().unwrap_or_else(|| reject(rpc, failure)))
}

fn form(binding: &Binding, headers: &HeaderMap, is_empty: bool) -> Result<Form, Rejection> {
    if is_lines(headers) || (is_empty && !headers.contains_key(CONTENT_TYPE)) {
        return Ok(Form::Lines);
    }
    if !body::is_utf8(headers, &["application/json"]) {
        return Err(Rejection::not_json_messages(&LINES));
    }
    Ok(if may_be_array(binding) {
        Form::Whole
    } else {
        Form::Document
    })
}

/// Whether the JSON of a single message may be an array.
fn may_be_array(binding: &Binding) -> bool {
    let is_array = |name: &str| ARRAYS.contains(&name);
    match &binding.body {
        RequestBody::None => false,
        RequestBody::Whole => is_array(binding.rpc.input.full_name()),
        RequestBody::Field(field) => {
            let kind = field.kind();
            let message = kind.as_message();
            field.is_list() || message.is_some_and(|message| is_array(message.full_name()))
        }
    }
}

/// Makes a frame of a JSON text.
struct Reader {
    translator: Arc<Translator>,
    binding: Arc<Binding>,
    uri: Uri,
}

impl Reader {
    fn message(&self, json: &[u8]) -> Result<DynamicMessage, Rejection> {
        let options = self.translator.options();
        let (path, query) = (self.uri.path(), self.uri.query());
        message::message(&self.binding, options, path, query, json)
    }

    fn frame(&self, json: &[u8]) -> Result<Bytes, Rejection> {
        let message = self.message(json)?;
        self.translator.check(&self.binding.rpc, &message)?;
        let bytes_max = self.translator.options().request_message_bytes_max;
        upstream::frame(&message).ok_or_else(|| Rejection::body_too_large(bytes_max))
    }
}

/// The body of the call.
struct Sent<B> {
    body: Unpacked<Pin<Box<B>>>,
    splitter: Splitter,
    reader: Reader,
    verdict: Option<oneshot::Sender<Rejection>>,
    bytes_max: usize,
}

impl<B> Sent<B>
where
    B: HttpBody<Data = Bytes, Error: Into<StdError>>,
{
    fn poll_text(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Rejection>>> {
        loop {
            match self.splitter.next() {
                Ok(Some(text)) => return Poll::Ready(Some(Ok(text))),
                Ok(None) if self.splitter.has_ended() => return Poll::Ready(None),
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Some(Err(self.refuse(&fault)))),
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                // Trailers of a request say nothing here.
                Some(Ok(frame)) => self
                    .splitter
                    .push(frame.data_ref().map_or(&[], |data| data)),
                Some(Err(error)) => return Poll::Ready(Some(Err(body::broken(&error)))),
                None => self.splitter.end(),
            }
        }
    }

    fn refuse(&self, fault: &Fault) -> Rejection {
        match fault {
            Fault::TooLong => Rejection::body_too_large(self.bytes_max),
            Fault::Malformed(reason) => {
                Rejection::bad_request("invalid_json", format!("the request body: {reason}"))
            }
        }
    }
}

impl<B> HttpBody for Sent<B>
where
    B: HttpBody<Data = Bytes, Error: Into<StdError>>,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        let Some(text) = ready!(this.poll_text(cx)) else {
            return Poll::Ready(None);
        };
        let frame = text.and_then(|text| this.reader.frame(&text));
        let rejection = match frame {
            Ok(frame) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
            Err(rejection) => rejection,
        };
        let rejection = match this.splitter.place() {
            Some(place) => rejection.at(&place),
            None => rejection,
        };
        if let Some(verdict) = this.verdict.take() {
            // Nobody listens to a call that is over.
            let _ = verdict.send(rejection);
        }
        Poll::Ready(Some(Err("a message of the request is wrong".into())))
    }
}
