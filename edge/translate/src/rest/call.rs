//! A call whose answers are read one after the other, from before its beginning.
//!
//! Invariant: dropping it cancels the call, whatever it has come to.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use tonic::body::Body;

use super::client_stream::Verdict;
use crate::framing::Frame;
use crate::rpc::Rpc;
use crate::status::failure::reject;
use crate::status::problem::Rejection;
use crate::upstream::{self, Failure, Messages, Opened, Part, Upstream};

type Opening = Pin<Box<dyn Future<Output = Result<Opened, Failure>> + Send>>;

pub(super) struct Call {
    rpc: Arc<Rpc>,
    /// Of the request's messages, should they turn out to be wrong.
    verdict: Verdict,
    state: State,
}

enum State {
    Opening(Opening),
    Open(Messages),
    Ended,
}

/// What comes out of a call, in this order.
pub(super) enum Step {
    /// Initial metadata.
    Head(HeaderMap),
    Message(Frame),
    End,
}

impl Call {
    pub(super) fn begin<S: Upstream>(
        mut service: S,
        rpc: Arc<Rpc>,
        metadata: HeaderMap,
        sent: Body,
        verdict: Verdict,
        bytes_max: usize,
    ) -> Self {
        let called = Arc::clone(&rpc);
        let opening =
            async move { upstream::open(&mut service, &called, metadata, sent, bytes_max).await };
        Self {
            rpc,
            verdict,
            state: State::Opening(Box::pin(opening)),
        }
    }

    /// After [`Step::End`] and after a failure there is nothing more to ask for.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Rejection>> {
        if let Poll::Ready(rejection) = self.verdict.poll(cx) {
            self.state = State::Ended;
            return Poll::Ready(Err(rejection));
        }
        let step = ready!(self.poll_step(cx));
        if !matches!(step, Ok(Step::Head(_) | Step::Message(_))) {
            self.state = State::Ended;
        }
        // A wrong message of the request is why the call broke off, and not the other way round.
        Poll::Ready(step.map_err(|failure| {
            self.verdict
                .take()
                .unwrap_or_else(|| reject(&self.rpc, failure))
        }))
    }

    /// Like [`Self::poll_next`].
    pub(super) async fn next(&mut self) -> Result<Step, Rejection> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Failure>> {
        match &mut self.state {
            State::Opening(opening) => {
                let Opened { initial, messages } = ready!(opening.as_mut().poll(cx))?;
                self.state = State::Open(messages);
                Poll::Ready(Ok(Step::Head(initial)))
            }
            State::Open(messages) => Poll::Ready(match ready!(messages.poll_next(cx)) {
                Some(Ok(Part::Message(frame))) => Ok(Step::Message(frame)),
                Some(Ok(Part::End(_))) | None => Ok(Step::End),
                Some(Err(failure)) => Err(failure),
            }),
            State::Ended => Poll::Ready(Ok(Step::End)),
        }
    }
}
