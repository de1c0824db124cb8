//! Spans to a collector by OTLP, and the context of a trace in and out (W3C Trace Context).
//! Invariant: a collector that is slow or away costs spans, never calls or memory.
//! Refuses to believe a context that is not written as the standard says.

use std::time::Duration;

use http::HeaderMap;
use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, TraceContextExt, TraceState, TracerProvider},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Tracer},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{Error, traceparent_parts};

/// Spans that wait to be sent, about 1 KiB each; more are dropped.
const QUEUE_MAX: usize = 2_048;
/// Spans of one message.
const BATCH_MAX: usize = 512;
/// How long a span waits for company.
const DELAY: Duration = Duration::from_secs(2);
/// A collector that does not take a message by then does not get it.
const SEND_TIMEOUT: Duration = Duration::from_secs(3);
/// What a stop gives to the spans that wait.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
const SERVICE: &str = "palisade-core";

/// Spans on their way to a collector.
pub struct Spans(SdkTracerProvider);

impl Spans {
    /// Connects when the first spans are sent. Needs a tokio run time.
    pub(super) fn to(endpoint: &str) -> Result<Self, Error> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(SEND_TIMEOUT)
            .build()
            .map_err(|error| Error::Exporter(error.to_string()))?;
        let bounds = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(DELAY)
            .build();
        let batches = BatchSpanProcessor::builder(exporter)
            .with_batch_config(bounds)
            .build();
        let resource = Resource::builder().with_service_name(SERVICE).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(batches)
            .with_resource(resource)
            .build();
        Ok(Self(provider))
    }

    pub(super) fn tracer(&self) -> Tracer {
        self.0.tracer(SERVICE)
    }

    /// Sends what waits, for a while.
    pub async fn flush(self) {
        let flushing =
            tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH_TIMEOUT));
        if !matches!(flushing.await, Ok(Ok(()))) {
            tracing::warn!("the last spans were not sent");
        }
    }
}

/// Makes `span` part of the trace that the caller's headers name.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    if let Some(parent) = remote(headers) {
        let context = Context::new().with_remote_span_context(parent);
        // Fails where no spans are sent.
        let _ = span.set_parent(context);
    }
}

fn remote(headers: &HeaderMap) -> Option<SpanContext> {
    let parts = traceparent_parts(headers)?;
    let flags = u8::from_str_radix(parts.flags, 16).ok()?;
    Some(SpanContext::new(
        TraceId::from_hex(parts.trace).ok()?,
        SpanId::from_hex(parts.parent).ok()?,
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    ))
}

/// The `traceparent` of what is done now, for calls to others; none where no spans are sent.
pub fn traceparent() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| {
        let flags = span.trace_flags().to_u8();
        format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_is_the_callers() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", text.parse().unwrap());
        let context = remote(&headers).unwrap();
        assert!(context.is_remote() && context.is_sampled());
        assert_eq!(
            format!("00-{}-{}-01", context.trace_id(), context.span_id()),
            text
        );
        headers.insert("traceparent", "00-zz".parse().unwrap());
        assert!(remote(&headers).is_none());
    }
}
