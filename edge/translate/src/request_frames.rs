//! A request body of messages with prefixes, as the body of a gRPC call.
//!
//! Invariant: pulled by the call, never pushed: holds one message of the permitted length and one
//! chunk of the body. What is wrong with a message is kept for the one who answers, as the call
//! itself can only break off.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame as BodyFrame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tonic::body::Body;
use tonic::codegen::StdError;

use crate::framing::{Deframer, Frame};
use crate::grpc_web::text;
use crate::json::body;
use crate::rpc::Rpc;
use crate::status::problem::Rejection;

/// A client's body, whatever carries it.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, StdError>;

/// Makes the frame of a gRPC call of what a client sent.
pub(crate) trait Convert:
    FnMut(Frame) -> Result<Bytes, Rejection> + Send + Unpin + 'static
{
}

impl<C> Convert for C where C: FnMut(Frame) -> Result<Bytes, Rejection> + Send + Unpin + 'static {}

/// Why a request was refused after its call had begun.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refused(Arc<Mutex<Option<Rejection>>>);

impl Refused {
    fn set(&self, rejection: Rejection) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(rejection);
    }

    pub(crate) fn take(&self) -> Option<Rejection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub(crate) struct RequestFrames<C> {
    body: RequestBody,
    text: Option<text::Decoder>,
    deframer: Deframer,
    convert: C,
    is_over: bool,
}

impl<C: Convert> RequestFrames<C> {
    /// `bytes_max` bounds each message as it was sent.
    pub(crate) fn new(body: RequestBody, is_text: bool, bytes_max: usize, convert: C) -> Self {
        Self {
            body,
            text: is_text.then(text::Decoder::default),
            deframer: Deframer::new(bytes_max),
            convert,
            is_over: false,
        }
    }

    /// What `rpc` is called with. An RPC of one message is not called before that is here, and is
    /// all: then whatever is wrong with the request costs no call.
    pub(crate) async fn into_call(self, rpc: &Rpc) -> Result<(Body, Refused), Rejection> {
        let refused = Refused::default();
        if rpc.client_streams {
            let body = CallBody {
                frames: self,
                refused: refused.clone(),
            };
            return Ok((Body::new(body), refused));
        }
        let mut frames = self;
        match frames.only().await {
            Ok(frame) => Ok((Body::new(Full::new(frame)), refused)),
            Err(rejection) => {
                body::drain(Pin::new(&mut frames.body)).await;
                Err(rejection)
            }
        }
    }

    async fn only(&mut self) -> Result<Bytes, Rejection> {
        let one = || Rejection::bad_request("malformed_body", "the request must be one message");
        let frame = self.next().await.ok_or_else(one)??;
        match self.next().await {
            None => Ok(frame),
            Some(Ok(_)) => Err(one()),
            Some(Err(rejection)) => Err(rejection),
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, Rejection>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Rejection>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_message(cx)).transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Rejection>> {
        loop {
            match self.deframer.next() {
                Ok(Some(frame)) => return Poll::Ready((self.convert)(frame).map(Some)),
                Ok(None) => {}
                Err(long) => return Poll::Ready(Err(Rejection::body_too_large(long.max))),
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && let Err(rejection) = self.push(data)
                    {
                        return Poll::Ready(Err(rejection));
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(body::incomplete())),
                None => return Poll::Ready(self.end()),
            }
        }
    }

    fn push(&mut self, data: Bytes) -> Result<(), Rejection> {
        let data = match &mut self.text {
            None => data,
            Some(decoder) => decoder
                .push(&data)
                .map_err(|error| Rejection::bad_request("malformed_body", error.to_string()))?,
        };
        self.deframer.push(data);
        Ok(())
    }

    fn end(&self) -> Result<Option<Bytes>, Rejection> {
        let is_whole = self.text.as_ref().is_none_or(text::Decoder::is_whole);
        if self.deframer.is_empty() && is_whole {
            return Ok(None);
        }
        let reason = "the request body ends in the middle of a message";
        Err(Rejection::bad_request("malformed_body", reason))
    }
}

struct CallBody<C> {
    frames: RequestFrames<C>,
    refused: Refused,
}

impl<C: Convert> http_body::Body for CallBody<C> {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, StdError>>> {
        Poll::Ready(match ready!(self.frames.poll_next(cx)) {
            Some(Ok(frame)) => Some(Ok(BodyFrame::data(frame))),
            Some(Err(rejection)) => {
                self.refused.set(rejection);
                Some(Err("the request was refused".into()))
            }
            None => None,
        })
    }
}

/// Reads to the end what nobody will look at.
pub(crate) async fn drain(mut body: RequestBody) {
    body::drain(Pin::new(&mut body)).await;
}

/// Boxes a body.
pub(crate) fn boxed<B>(body: B) -> RequestBody
where
    B: http_body::Body<Data = Bytes, Error: Into<StdError>> + Send + 'static,
{
    body.map_err(Into::into).boxed_unsync()
}
