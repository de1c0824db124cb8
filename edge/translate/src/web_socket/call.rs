//! The call behind a WebSocket: messages that are handed over one by one, and its answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;

use crate::rpc::Rpc;
use crate::upstream::{self, Failure, Messages, Opened, Part, Upstream};

/// Messages between the socket and the call.
const WAITING_MAX: usize = 1;

type Opening = Pin<Box<dyn Future<Output = Result<Opened, Failure>> + Send>>;

/// A call whose head may still be on its way. Dropping it resets its stream.
pub(super) enum Call {
    Opening(Opening),
    Open(Messages),
}

impl Call {
    pub(super) fn begin<S: Upstream>(
        mut service: S,
        rpc: Arc<Rpc>,
        metadata: HeaderMap,
        body: Body,
        bytes_max: usize,
    ) -> Self {
        Self::Opening(Box::pin(async move {
            upstream::open(&mut service, &rpc, metadata, body, bytes_max).await
        }))
    }

    /// Until the service has accepted the call; after an error there is nothing more.
    pub(super) async fn opened(&mut self) -> Result<(), Failure> {
        poll_fn(|cx| self.poll_open(cx).map_ok(|_| ())).await
    }

    /// The next part of the answer. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Result<Part, Failure>> {
        poll_fn(|cx| match ready!(self.poll_open(cx)) {
            Ok(messages) => messages.poll_next(cx),
            Err(failure) => Poll::Ready(Some(Err(failure))),
        })
        .await
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<&mut Messages, Failure>> {
        if let Self::Opening(opening) = self {
            let opened = ready!(opening.as_mut().poll(cx))?;
            *self = Self::Open(opened.messages);
        }
        match self {
            Self::Open(messages) => Poll::Ready(Ok(messages)),
            Self::Opening(_) => Poll::Pending,
        }
    }
}

/// What the client says to the call, each with its prefix.
#[derive(Debug)]
pub(super) enum Said {
    Message(Bytes),
    /// Nothing comes after it.
    Last(Bytes),
    End,
}

pub(super) fn channel() -> (mpsc::Sender<Said>, Body) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let requests = Requests {
        receiver,
        ended: false,
    };
    (sender, Body::new(requests))
}

/// The call's body. A sender that goes without an end makes it an error, and that a reset: to a
/// service that stores what it is sent an end would say that this is all.
struct Requests {
    receiver: mpsc::Receiver<Said>,
    ended: bool,
}

impl HttpBody for Requests {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.receiver.poll_recv(cx)) {
            Some(Said::Message(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Said::Last(bytes)) => {
                self.ended = true;
                Some(Ok(Frame::data(bytes)))
            }
            Some(Said::End) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(Status::cancelled("the client left")))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn only_an_end_ends_it() {
        for (last, whole) in [
            (Some(Said::Last("b".into())), Some("ab")),
            (Some(Said::Message("b".into())), None),
            (Some(Said::End), Some("a")),
            (None, None),
        ] {
            let (sender, body) = channel();
            let said = tokio::spawn(async move {
                sender.send(Said::Message("a".into())).await.unwrap();
                if let Some(last) = last {
                    sender.send(last).await.unwrap();
                }
            });
            let read = body.collect().await.ok();
            said.await.unwrap();
            assert_eq!(read.map(|all| all.to_bytes()), whole.map(Bytes::from));
        }
    }
}
