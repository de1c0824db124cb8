//! Logs as JSON lines, and the ids that tie a line to a request.
//! Invariant: an id taken from a caller is short and plain, so nobody can
//! forge a log line or fill the disk with a header.
//! Refuses to log messages, headers or bodies: addresses, passwords and tokens
//! live there.

mod log_filter;
mod spans;

use http::HeaderMap;
pub use log_filter::{Level, LogFilter, SetError};
pub use spans::{Spans, continue_trace, traceparent};
use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn};
use uuid::Uuid;

/// Twice a UUID's text; longer ids are someone's payload.
const REQUEST_ID_BYTES_MAX: usize = 72;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "--log: `{filter}` is not a log filter: {source}\nhint: such as `info` or `info,core_identity=debug`"
    )]
    Filter {
        filter: String,
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
    Exporter(String),
    #[error("logging was already set up: {0}")]
    Taken(#[from] tracing_subscriber::util::TryInitError),
}

/// Which lines are written.
///
/// # Errors
/// A text that does not parse.
pub fn filter(text: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(text).map_err(|source| Error::Filter {
        filter: text.to_owned(),
        source,
    })
}

/// What a process has of its log and its spans.
pub struct Telemetry {
    pub filter: LogFilter,
    pub spans: Option<Spans>,
}

/// Starts logging to standard output, one JSON object a line; panics go there too.
/// Spans are sent to the collector at `otlp`, which needs a tokio run time.
///
/// # Errors
/// A filter that does not parse, or a second call.
pub fn init(filter: &str, otlp: Option<&str>) -> Result<Telemetry, Error> {
    use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

    let (layer, filter) = LogFilter::new(self::filter(filter)?, filter);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false);
    let spans = otlp.map(Spans::to).transpose()?;
    let traced = spans
        .as_ref()
        .map(|spans| tracing_opentelemetry::layer().with_tracer(spans.tracer()))
        // Ours only: the spans of the exporter's own connection would make more of them, without end.
        .map(|layer| layer.with_filter(filter_fn(|of| of.target().starts_with("core_"))));
    tracing_subscriber::registry()
        .with(layer)
        .with(traced)
        .with(lines)
        .try_init()?;
    // The default hook writes free text to standard error, where no log shipper parses it.
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("panic without text");
        tracing::error!(at, panic = text, "panicked");
    }));
    Ok(Telemetry { filter, spans })
}

/// What a command has to say to who waits for it: warnings, in plain text.
///
/// # Errors
/// A second call.
pub fn to_stderr() -> Result<(), Error> {
    use tracing_subscriber::util::SubscriberInitExt;

    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_target(false)
        .finish();
    Ok(lines.try_init()?)
}

/// The caller's `x-request-id` if it is plain and short, else a new one.
pub fn request_id(headers: &HeaderMap) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(plain))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// The trace id of a valid `traceparent`.
pub fn trace_id(headers: &HeaderMap) -> Option<&str> {
    traceparent_parts(headers).map(|parts| parts.trace)
}

/// What a valid `traceparent` says (W3C Trace Context section 3.2), in hexadecimal.
struct TraceParent<'h> {
    trace: &'h str,
    parent: &'h str,
    flags: &'h str,
}

fn traceparent_parts(headers: &HeaderMap) -> Option<TraceParent<'_>> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    // Version 00 has exactly four parts; later versions may append more; ff is invalid.
    let extra = parts.next().is_some();
    let valid = hex(version, 2)
        && version != "ff"
        && !(version == "00" && extra)
        && hex(trace, 32)
        && !zero(trace)
        && hex(parent, 16)
        && !zero(parent)
        && hex(flags, 2);
    valid.then_some(TraceParent {
        trace,
        parent,
        flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn plain_request_ids_are_kept() {
        let kept = |id: &str| request_id(&headers("x-request-id", id)) == id;
        assert!(kept("0190a1b2-c3d4"));
        assert!(kept("a.b:c_d"));
        assert!(!kept(""));
        assert!(!kept("a b"));
        assert!(!kept("a\"b"));
        assert!(!kept(&"a".repeat(REQUEST_ID_BYTES_MAX + 1)));
        assert_eq!(request_id(&HeaderMap::new()).len(), 36);
    }

    #[test]
    fn traceparent_is_read_strictly() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let check = |text: String, expected: Option<&str>| {
            assert_eq!(trace_id(&headers("traceparent", &text)), expected, "{text}");
        };
        check(format!("00-{trace}-00f067aa0ba902b7-01"), Some(trace));
        check(format!("cc-{trace}-00f067aa0ba902b7-01-what"), Some(trace));
        check(format!("00-{trace}-00f067aa0ba902b7-01-what"), None);
        check(format!("ff-{trace}-00f067aa0ba902b7-01"), None);
        check(format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None);
        check(format!("00-{trace}-0000000000000000-01"), None);
        check(
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            None,
        );
        check("00-abc".to_owned(), None);
    }

    proptest::proptest! {
        #[test]
        fn ids_from_outside_are_plain(bytes in proptest::collection::vec(0x20_u8..=0x7e, 0..200)) {
            let text = String::from_utf8(bytes).unwrap();
            let id = request_id(&headers("x-request-id", &text));
            proptest::prop_assert!(!id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX);
            proptest::prop_assert!(!id.contains(['"', '\\', ' ', '\n']));
            let sent = headers("traceparent", &text);
            proptest::prop_assert!(trace_id(&sent).is_none_or(|trace| trace.len() == 32));
        }
    }
}
