//! How a stream of answers is written, by what the client accepts (RFC 9110 section 12.5.1).
//!
//! The weights of a client decide; of equal ones the media type that it names itself, and then the
//! order below.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::status::problem::Rejection;

/// What a stream of answers is to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON array.
    Array,
    /// A JSON text on each line.
    Lines(&'static str),
    /// Server-sent events (the HTML standard, 9.2).
    Events,
}

/// Without a wish a stream is what any JSON client reads.
const OFFERED: [Format; 4] = [
    Format::Array,
    Format::Lines("application/x-ndjson"),
    Format::Lines("application/jsonl"),
    Format::Events,
];

/// The weight of a range that has none, in thousandths.
const WHOLE_WEIGHT: u16 = 1_000;

impl Format {
    pub(super) fn chosen(headers: &HeaderMap) -> Result<Self, Rejection> {
        if !headers.contains_key(ACCEPT) {
            return Ok(Self::Array);
        }
        let mut best = None;
        for format in OFFERED {
            let rating = format.rating(headers);
            if rating.is_some_and(|(weight, _)| weight > 0) && rating > best.map(|(_, r)| r) {
                best = rating.map(|rating| (format, rating));
            }
        }
        best.map(|(format, _)| format).ok_or_else(not_acceptable)
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Array => "application/json",
            Self::Lines(name) => name,
            Self::Events => "text/event-stream",
        }
    }

    /// Weight by the most specific range, and how specific that is.
    fn rating(self, headers: &HeaderMap) -> Option<(u16, u8)> {
        headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|range| self.rating_by(range))
            .max_by_key(|(weight, specificity)| (*specificity, *weight))
    }

    fn rating_by(self, range: &str) -> Option<(u16, u8)> {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?;
        let own = self.media_type();
        let family = own.split('/').next()?;
        let specificity = if name.eq_ignore_ascii_case(own) {
            2
        } else if name == "*/*" {
            0
        } else if name
            .strip_suffix("/*")
            .is_some_and(|name| name.eq_ignore_ascii_case(family))
        {
            1
        } else {
            return None;
        };
        let weight = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.eq_ignore_ascii_case("q"))
            .map_or(Some(WHOLE_WEIGHT), |(_, text)| weight(text))?;
        Some((weight, specificity))
    }
}

/// RFC 9110 section 12.4.2: 0 to 1, with at most three digits behind the point.
fn weight(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_short = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "0" if is_short => format!("{part:0<3}").parse().ok(),
        "1" if part.len() <= 3 && part.bytes().all(|byte| byte == b'0') => Some(WHOLE_WEIGHT),
        _ => None,
    }
}

fn not_acceptable() -> Rejection {
    let names = OFFERED.map(Format::media_type).join("`, `");
    Rejection::new(
        StatusCode::NOT_ACCEPTABLE,
        "not_acceptable",
        format!("this stream is written as one of `{names}`"),
    )
}

impl From<Format> for HeaderValue {
    fn from(format: Format) -> Self {
        Self::from_static(format.media_type())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &'static str) -> Option<Format> {
        let headers = [(ACCEPT, HeaderValue::from_static(accept))];
        Format::chosen(&headers.into_iter().collect()).ok()
    }

    #[test]
    fn the_client_chooses() {
        let lines = Format::Lines("application/x-ndjson");
        for (accept, expected) in [
            ("", None),
            ("*/*", Some(Format::Array)),
            ("application/*", Some(Format::Array)),
            ("application/json; charset=utf-8", Some(Format::Array)),
            ("Text/Event-Stream", Some(Format::Events)),
            ("text/*", Some(Format::Events)),
            ("application/x-ndjson", Some(lines)),
            (
                "application/jsonl",
                Some(Format::Lines("application/jsonl")),
            ),
            ("application/x-ndjson, */*", Some(lines)),
            (
                "application/json;q=0.5, text/event-stream;q=0.501",
                Some(Format::Events),
            ),
            ("application/json;q=0, */*;q=0.1", Some(lines)),
            ("application/*;q=0, */*", Some(Format::Events)),
            ("application/json, text/event-stream", Some(Format::Array)),
            ("text/html, */*;q=0.8", Some(Format::Array)),
            ("text/event-stream;q=0", None),
            ("text/event-stream;q=2", None),
            ("text/event-stream;q=0.0001", None),
            ("text/html", None),
            ("*/json", None),
        ] {
            assert_eq!(chosen(accept), expected, "{accept}");
        }
        assert_eq!(Format::chosen(&HeaderMap::new()).ok(), Some(Format::Array));
    }
}
