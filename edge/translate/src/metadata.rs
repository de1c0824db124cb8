//! HTTP headers to gRPC metadata, and back.
//!
//! Invariant: passes on what is the caller's or the service's, never what belongs to one hop or to
//! one message's framing. Who may send which header is the edge's business, decided before this.

use std::time::Duration;

use base64::Engine;
use http::StatusCode;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};

use crate::http_metadata;
use crate::json::scalar::BASE64;

const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The first number that has too many digits for a timeout.
const TIMEOUT_COUNT_END: u128 = 100_000_000;

/// RFC 9110 section 7.6.1, and names that were hop by hop before it.
pub(crate) const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// About the HTTP request that ends here, not about the call.
const REQUEST_ONLY: [&str; 6] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "expect",
    "host",
    "x-grpc-web",
];

/// The metadata of the gRPC call, ready to be sent as its headers.
pub(crate) fn request(headers: HeaderMap) -> HeaderMap {
    let nominated = nominated(&headers);
    let mut metadata = HeaderMap::with_capacity(headers.len() + 2);
    each(headers, |name, value| {
        if is_sent(name, &value) && !nominated.contains(name) {
            metadata.append(name, value);
        }
    });
    metadata.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert(TE, HeaderValue::from_static("trailers"));
    metadata
}

/// The headers of the HTTP response, and the status of a success.
pub(crate) fn response(initial: HeaderMap) -> (StatusCode, HeaderMap) {
    let status = http_metadata::status_of_success(&initial);
    (status, headers(initial))
}

/// The headers of the HTTP response, whatever its status. What is about the bytes of a body is
/// not among them.
pub(crate) fn headers(initial: HeaderMap) -> HeaderMap {
    let chosen = http_metadata::headers(&initial);
    let nominated = nominated(&initial);
    let mut headers = HeaderMap::with_capacity(initial.len() + 1);
    each(initial, |name, value| {
        let text = name.as_str();
        if !text.starts_with("grpc-")
            && !text.starts_with("content-")
            && !text.starts_with(http_metadata::PREFIX)
            && text != "date" // the server on this hop writes its own
            && !HOP_BY_HOP.contains(&text)
            && !nominated.contains(name)
        {
            headers.append(name, value);
        }
    });
    // What a service says on purpose takes the place of what it happens to say.
    headers.extend(chosen);
    headers
}

/// Adds all of `from`, beside what is there already.
pub(crate) fn append(into: &mut HeaderMap, from: HeaderMap) {
    each(from, |name, value| {
        into.append(name, value);
    });
}

/// Calls `f` for each pair; the map yields a name only with its first value.
pub(crate) fn each(headers: HeaderMap, mut f: impl FnMut(&HeaderName, HeaderValue)) {
    let mut current = None;
    for (name, value) in headers {
        if name.is_some() {
            current = name;
        }
        if let Some(name) = &current {
            f(name, value);
        }
    }
}

/// Names that `Connection` says are for this hop.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect()
}

fn is_sent(name: &HeaderName, value: &HeaderValue) -> bool {
    let text = name.as_str();
    if text == GRPC_TIMEOUT {
        return is_timeout(value.as_bytes());
    }
    // gRPC's metadata names are narrower than HTTP's, and its values are printable ASCII.
    let named = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    let valued = if text.ends_with("-bin") {
        BASE64.decode(value.as_bytes()).is_ok()
    } else {
        value.to_str().is_ok()
    };
    named
        && valued
        && !text.starts_with("grpc-")
        && !text.starts_with("content-")
        && !text.starts_with("connect-")
        && !HOP_BY_HOP.contains(&text)
        && !REQUEST_ONLY.contains(&text)
}

/// Whether the value is a timeout at all.
fn is_timeout(value: &[u8]) -> bool {
    parse_timeout(value).is_some()
}

/// How long the call may take, where it says so.
pub(crate) fn timeout(metadata: &HeaderMap) -> Option<Duration> {
    parse_timeout(metadata.get(GRPC_TIMEOUT)?.as_bytes())
}

/// The call may take this long, or less where it says so already.
pub(crate) fn shorten(metadata: &mut HeaderMap, left: Duration) {
    if timeout(metadata).is_some_and(|said| said <= left) {
        return;
    }
    let millis = left.as_millis();
    let value = if millis < TIMEOUT_COUNT_END {
        format!("{millis}m")
    } else {
        format!("{}S", left.as_secs().min(TIMEOUT_COUNT_END as u64 - 1))
    };
    if let Ok(value) = HeaderValue::try_from(value) {
        metadata.insert(GRPC_TIMEOUT, value);
    }
}

/// At most eight digits and a unit, as gRPC's `Timeout` in its PROTOCOL-HTTP2 document.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}
