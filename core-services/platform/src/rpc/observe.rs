//! What operators see of a call: one log line, one measurement.
//! Invariant: each call is counted once, when its answer has left or its client
//! has; a call that vanished counts as CANCELLED.
//! Refuses to count by path as sent: unknown paths share one label.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, body::Body};
use tracing::Span;

use crate::{clock::Stopwatch, contracts::Rpc, metrics::Metrics};

/// Writes the log line and the measurement when dropped.
pub(super) struct Finish {
    metrics: Arc<Metrics>,
    route: String,
    service: &'static str,
    since: Stopwatch,
    code: i32,
    span: Span,
    slot: Option<OwnedSemaphorePermit>,
}

impl Finish {
    pub(super) fn new(metrics: Arc<Metrics>, rpc: Option<&Rpc>, span: Span) -> Self {
        metrics.in_flight.inc();
        Self {
            metrics,
            route: rpc.map_or_else(|| "unknown".to_owned(), |rpc| rpc.path.clone()),
            service: rpc.map_or("unknown", |rpc| rpc.service),
            since: Stopwatch::start(),
            code: Code::Cancelled as i32,
            span,
            slot: None,
        }
    }

    /// Keeps the call's slot until the answer has left.
    pub(super) fn hold(&mut self, slot: OwnedSemaphorePermit) {
        self.slot = Some(slot);
    }

    /// Reads `grpc-status` from trailers, or from the headers of a trailers-only answer.
    pub(super) fn read(&mut self, headers: &HeaderMap) {
        if let Some(value) = headers.get("grpc-status") {
            self.code = Code::from_bytes(value.as_bytes()) as i32;
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let elapsed = self.since.elapsed();
        self.metrics.in_flight.dec();
        self.metrics
            .requests
            .with_label_values(&["grpc", &self.route, &self.code.to_string(), self.service])
            .observe(elapsed.as_secs_f64());
        tracing::info!(
            parent: &self.span,
            rpc = self.route,
            code = self.code,
            duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "answered"
        );
    }
}

/// The answer's body, watched for its trailers.
pub(super) struct Observed {
    inner: Body,
    finish: Finish,
}

impl Observed {
    pub(super) fn new(inner: Body, finish: Finish) -> Self {
        Self { inner, finish }
    }
}

impl HttpBody for Observed {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            this.finish.read(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
