//! What a service sends, as the body of an answer: whole, or piece by piece.
//!
//! Invariant: a length that a service announces is the length that is sent, or the answer breaks off;
//! an answer that ends well ended well in the service, too.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tonic::codegen::StdError;

use super::message::{self, HttpBody};
use crate::rest::unary;
use crate::rules::binding::Binding;
use crate::server::ResponseBody;
use crate::upstream::{Failure, Messages, Opened, Part, Reply};
use crate::{http_metadata, metadata};

/// Where a service does not say: not for browsers to guess at.
const UNKNOWN_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");

pub(super) fn whole(binding: &Binding, reply: Reply) -> Result<Response<ResponseBody>, Failure> {
    let coding = http_metadata::body_coding(&reply.initial).cloned();
    let (status, headers) = metadata::response(reply.initial);
    if unary::is_bodiless(status) {
        return Ok(unary::respond(status, headers, Bytes::new()));
    }
    let body = message::read(binding, reply.frame)?;
    let content_type = content_type(&body)?;
    let mut response = unary::respond(status, headers, body.data);
    describe(response.headers_mut(), content_type, coding);
    Ok(response)
}

/// Waits for the first message, which has the type, unless there is no body to have one.
pub(super) async fn stream(
    binding: &Arc<Binding>,
    opened: Opened,
    is_head: bool,
) -> Result<Response<ResponseBody>, Failure> {
    let Opened {
        initial,
        mut messages,
    } = opened;
    let status = http_metadata::status_of_success(&initial);
    if unary::is_bodiless(status) {
        return Ok(unary::respond(
            status,
            metadata::headers(initial),
            Bytes::new(),
        ));
    }
    let (first, rest) = match messages.next().await {
        Some(Ok(Part::Message(frame))) => (message::read(binding, frame)?, Some(messages)),
        Some(Err(Failure::Status(status, _))) => return Err(Failure::Status(status, initial)),
        Some(Err(failure)) => return Err(failure),
        Some(Ok(Part::End(_))) | None => (HttpBody::default(), None),
    };
    let content_type = content_type(&first)?;
    let coding = http_metadata::body_coding(&initial).cloned();
    let length = http_metadata::body_length(&initial);
    let headers = metadata::headers(initial);
    let mut response = match is_head {
        true => unary::respond(status, headers, Bytes::new()),
        false => answer(
            status,
            headers,
            Pieces {
                binding: binding.clone(),
                ready: Some(first.data),
                messages: rest,
                left: length,
            },
        ),
    };
    describe(response.headers_mut(), content_type, coding);
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    Ok(response)
}

fn answer(status: StatusCode, headers: HeaderMap, pieces: Pieces) -> Response<ResponseBody> {
    let mut response = Response::new(pieces.boxed_unsync());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn content_type(body: &HttpBody) -> Result<HeaderValue, Failure> {
    if body.content_type.is_empty() {
        return Ok(UNKNOWN_TYPE);
    }
    HeaderValue::from_str(&body.content_type)
        .map_err(|_| Failure::Protocol("its content type cannot be a header".to_owned()))
}

fn describe(headers: &mut HeaderMap, content_type: HeaderValue, coding: Option<HeaderValue>) {
    headers.insert(CONTENT_TYPE, content_type);
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, coding);
    }
}

/// The data of messages, as far as they have come.
struct Pieces {
    binding: Arc<Binding>,
    /// Data to be sent next.
    ready: Option<Bytes>,
    /// `None` when the call is over.
    messages: Option<Messages>,
    /// What is still to come of the length that was announced, with what is ready.
    left: Option<u64>,
}

impl Pieces {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            let bytes = self.ready.as_ref().map_or(0, Bytes::len) as u64;
            if self.left.is_some_and(|left| left < bytes) {
                return Poll::Ready(Some(Err(not_as_announced("longer"))));
            }
            // The last piece of an announced length waits for the end of the call: the server stops
            // reading here with the last byte, and would not learn that the call failed.
            let is_last = self.messages.is_some() && self.left == Some(bytes);
            if bytes > 0 && !is_last {
                self.left = self.left.map(|left| left - bytes);
                return Poll::Ready(self.ready.take().map(Ok));
            }
            let Some(messages) = &mut self.messages else {
                let is_short = self.left.is_some_and(|left| left > 0);
                return Poll::Ready(is_short.then(|| Err(not_as_announced("shorter"))));
            };
            match ready!(messages.poll_next(cx)) {
                Some(Ok(Part::Message(frame))) => {
                    let data = message::read(&self.binding, frame)?.data;
                    if data.is_empty() {
                        continue;
                    }
                    if self
                        .ready
                        .replace(data)
                        .is_some_and(|last| !last.is_empty())
                    {
                        return Poll::Ready(Some(Err(not_as_announced("longer"))));
                    }
                }
                Some(Err(failure)) => return Poll::Ready(Some(Err(failure))),
                Some(Ok(Part::End(_))) | None => self.messages = None,
            }
        }
    }
}

fn not_as_announced(how: &str) -> Failure {
    Failure::Protocol(format!("the body is {how} than announced"))
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let pieces = self.get_mut();
        let piece = ready!(pieces.poll(cx));
        if let Some(Err(cause)) = &piece {
            let rpc = pieces.binding.rpc.name();
            tracing::warn!(rpc, %cause, "a body broke off");
            pieces.messages = None;
            pieces.ready = None;
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data).map_err(Into::into)))
    }
}
