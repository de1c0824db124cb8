//! The messages of a call as the body of an answer, with its status behind them.
//!
//! Invariant: pulled by the client, one message at a time: who does not read makes the service wait.
//! However a call ends, the body has an end that says so.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame as BodyFrame;
use tonic::codegen::StdError;

use crate::framing::Frame;
use crate::metadata;
use crate::request_frames::Refused;
use crate::rpc::Rpc;
use crate::status::failure::reject;
use crate::status::problem::Rejection;
use crate::upstream::{Failure, Messages, Part};

/// How a dialect writes messages and their end.
pub(crate) trait Write: Send + Unpin + 'static {
    fn message(&mut self, frame: Frame) -> Result<Bytes, Rejection>;

    /// The metadata behind the messages of a call that succeeded, or why it failed.
    fn end(&mut self, end: Result<HeaderMap, Rejection>) -> Bytes;
}

pub(crate) struct AnswerFrames<W> {
    rpc: Arc<Rpc>,
    /// None once the end is written.
    messages: Option<Messages>,
    refused: Refused,
    write: W,
}

impl<W: Write> AnswerFrames<W> {
    pub(crate) fn new(rpc: Arc<Rpc>, messages: Messages, refused: Refused, write: W) -> Self {
        Self {
            rpc,
            messages: Some(messages),
            refused,
            write,
        }
    }
}

impl<W: Write> http_body::Body for AnswerFrames<W> {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, StdError>>> {
        let this = self.get_mut();
        let Some(messages) = &mut this.messages else {
            return Poll::Ready(None);
        };
        let end = match ready!(messages.poll_next(cx)) {
            Some(Ok(Part::Message(frame))) => match this.write.message(frame) {
                Ok(bytes) => return Poll::Ready(Some(Ok(BodyFrame::data(bytes)))),
                Err(rejection) => Err(rejection),
            },
            Some(Ok(Part::End(trailers))) => Ok(metadata::headers(trailers)),
            Some(Err(failure)) => Err(failed(&this.rpc, &this.refused, failure)),
            None => Err(reject(&this.rpc, Failure::Broken("no end".to_owned()))),
        };
        // Ends the call, should it not have ended itself.
        this.messages = None;
        Poll::Ready(Some(Ok(BodyFrame::data(this.write.end(end)))))
    }

    fn is_end_stream(&self) -> bool {
        self.messages.is_none()
    }
}

/// Why a call failed: a request that was refused under way breaks its call off.
pub(crate) fn failed(rpc: &Rpc, refused: &Refused, failure: Failure) -> Rejection {
    refused.take().unwrap_or_else(|| reject(rpc, failure))
}
