//! W3C trace context (Level 1): taken over from the client when it is well formed, made otherwise.

use http::{HeaderMap, HeaderValue};

use crate::request_id::hex;

/// Longest `tracestate` that is passed on (W3C, 3.3.1.5 asks for at least 512).
const STATE_BYTES_MAX: usize = 512;

/// Identity of a request across processes.
#[derive(Debug, Clone, Default)]
pub struct TraceContext {
    trace_id: u128,
    /// Of the edge's own span: the parent of the upstream's.
    span_id: u64,
    sampled: bool,
    state: Option<HeaderValue>,
}

impl TraceContext {
    /// Continue the caller's trace, or begin one.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let span_id = fastrand::u64(1..);
        let mut fields = headers.get_all("traceparent").iter();
        let parent = fields
            .next()
            .and_then(|value| value.to_str().ok())
            .and_then(parse);
        match (parent, fields.next()) {
            (Some((trace_id, sampled)), None) => {
                let state = headers
                    .get("tracestate")
                    .filter(|state| state.len() <= STATE_BYTES_MAX);
                Self {
                    trace_id,
                    span_id,
                    sampled,
                    state: state.cloned(),
                }
            }
            _ => Self {
                trace_id: fastrand::u128(1..),
                span_id,
                sampled: false,
                state: None,
            },
        }
    }

    /// `traceparent` for the upstream.
    pub fn header(&self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let parts = [
            (3, &hex::<32>(self.trace_id)[..]),
            (36, &hex::<16>(self.span_id.into())[..]),
            (53, &hex::<2>(self.sampled.into())[..]),
        ];
        for (at, digits) in parts {
            if let Some(place) = text.get_mut(at..at + digits.len()) {
                place.copy_from_slice(digits);
            }
        }
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    pub fn state(&self) -> Option<&HeaderValue> {
        self.state.as_ref()
    }

    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, lower case, no zero ids (W3C, 3.2.2).
fn parse(text: &str) -> Option<(u128, bool)> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length| {
        text.len() == length
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let well_formed =
        is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    // A later version may have more parts; version 00 has none, and ff is forbidden.
    if !well_formed || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
    u64::from_str_radix(parent, 16).ok().filter(|id| *id != 0)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some((trace_id, flags & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn continued(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_str(value).unwrap());
        let context = TraceContext::from_headers(&headers);
        context.header().to_str().unwrap().get(3..35) == value.get(3..35)
    }

    #[test]
    fn takes_over_what_is_well_formed() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert!(continued(&format!("00-{id}-00f067aa0ba902b7-01")));
        assert!(continued(&format!("01-{id}-00f067aa0ba902b7-01-later")));
        for bad in [
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-00f067aa0ba902b7-01-more"),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-{id}-00f067aa0ba902b7"),
        ] {
            assert!(!continued(&bad), "{bad}");
        }
    }

    #[test]
    fn every_hop_has_a_span_of_its_own() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(parent));
        let header = TraceContext::from_headers(&headers).header();
        assert_ne!(header, parent);
        assert!(header.to_str().unwrap().ends_with("-01"));
    }
}
