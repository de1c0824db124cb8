//! The answer to a call: messages one after the other, and the status behind them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::Sleep;
use tonic::Code;
use tonic::codegen::StdError;

use super::{Failure, chain};
use crate::framing::{Deframer, Frame};
use crate::http_metadata;
use crate::status::code::GrpcStatus;

/// Messages of a call that is under way. Dropping it resets the call's stream.
pub(crate) struct Messages {
    body: UnsyncBoxBody<Bytes, StdError>,
    deframer: Deframer,
    /// The call's own deadline, should the upstream not keep it.
    deadline: Option<Pin<Box<Sleep>>>,
    state: State,
}

enum State {
    Reading,
    /// Trailers, if there were any; frames may be left.
    Read(Option<HeaderMap>),
    Ended,
}

impl Messages {
    pub(super) fn new(
        body: UnsyncBoxBody<Bytes, StdError>,
        bytes_max: usize,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Self {
        Self {
            body,
            deframer: Deframer::new(bytes_max),
            deadline,
            state: State::Reading,
        }
    }

    /// The next message; then, once, the trailers of a call that succeeded; then `None`.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Part, Failure>>> {
        if matches!(self.state, State::Ended) {
            return Poll::Ready(None);
        }
        let part = ready!(self.poll_part(cx));
        if !matches!(part, Ok(Part::Message(_))) {
            self.state = State::Ended;
        }
        Poll::Ready(Some(part))
    }

    /// Like [`Self::poll_next`].
    pub(crate) async fn next(&mut self) -> Option<Result<Part, Failure>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Failure>> {
        loop {
            match self.deframer.next() {
                Ok(Some(frame)) => return Poll::Ready(Ok(Part::Message(frame))),
                Ok(None) => {}
                Err(long) => return Poll::Ready(Err(Failure::TooLarge(long.max))),
            }
            if let State::Read(trailers) = &mut self.state {
                let is_whole = self.deframer.is_empty();
                return Poll::Ready(end(trailers.take(), is_whole));
            }
            if let Some(deadline) = &mut self.deadline
                && deadline.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Err(Failure::Timeout));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.deframer.push(data),
                    Err(frame) => {
                        let mut trailers = frame.into_trailers().ok();
                        // What HTTP shall answer is said before the answer or not at all.
                        if let Some(trailers) = &mut trailers {
                            http_metadata::remove(trailers);
                        }
                        self.state = State::Read(trailers);
                    }
                },
                Some(Err(error)) => return Poll::Ready(Err(Failure::Broken(chain(&*error)))),
                None => self.state = State::Read(None),
            }
        }
    }
}

/// What comes out of a call.
#[derive(Debug)]
pub(crate) enum Part {
    Message(Frame),
    /// The status is OK; these are the trailers, with it.
    End(HeaderMap),
}

fn end(trailers: Option<HeaderMap>, is_whole: bool) -> Result<Part, Failure> {
    let broken = |reason: &str| Err(Failure::Broken(reason.to_owned()));
    let Some(trailers) = trailers else {
        return broken("no trailers");
    };
    match GrpcStatus::read(&trailers) {
        None => broken("no grpc-status in the trailers"),
        Some(mut status) if status.code != Code::Ok => {
            status.trailers = trailers;
            Err(Failure::Status(Box::new(status), HeaderMap::new()))
        }
        Some(_) if !is_whole => Err(Failure::Protocol(
            "ok in the middle of a message".to_owned(),
        )),
        Some(_) => Ok(Part::End(trailers)),
    }
}

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Messages(..)")
    }
}
