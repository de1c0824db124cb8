//! Which answers are compressed toward the client, and by which coding (RFC 9110, 8.4 and 12.5.3).
//!
//! After the cache: what is kept stays as the upstream sent it, so that one stored answer serves
//! every client and ranges are those of the resource.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    ETAG, TRAILER, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use palisade_policy::model::{Coding, Compression};
use palisade_translate::Dialect;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

/// Of bytes as they are sent (RFC 9530; RFC 3230 and RFC 1864 before it): they would be wrong.
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// A weight of 1 (RFC 9110, 12.4.2), in thousandths.
const WEIGHT_MAX: u16 = 1000;

/// How an answer is to go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Nothing about it depends on what the client takes.
    AsItIs,
    /// It could have been compressed; this client does not want it.
    Declined,
    Coded(Coding),
}

pub fn choose(
    rule: &Compression,
    request: &RequestHeader,
    dialect: Dialect,
    response: &ResponseHeader,
) -> Choice {
    if !is_eligible(rule, request, dialect, response) {
        return Choice::AsItIs;
    }
    preferred(rule, &request.headers).map_or(Choice::Declined, Choice::Coded)
}

fn is_eligible(
    rule: &Compression,
    request: &RequestHeader,
    dialect: Dialect,
    response: &ResponseHeader,
) -> bool {
    // These compress message by message, and their clients look for nothing else.
    if !matches!(dialect, Dialect::Http | Dialect::ConnectUnary(_)) {
        return false;
    }
    let headers = &response.headers;
    let has_whole_body = response.status.is_success() | response.status.is_client_error()
        && !matches!(
            response.status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT
        );
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    let forbids = |value: &HeaderValue| {
        let directives = value.as_bytes().split(|byte| *byte == b',');
        let mut names = directives.map(<[u8]>::trim_ascii);
        names.any(|name| name.eq_ignore_ascii_case(b"no-transform"))
    };
    let length = headers.get(CONTENT_LENGTH).map(|value| {
        let text = value.to_str().ok();
        text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    });
    has_whole_body
        // RFC 9112, 7.1: no chunks, and the length is not known before the end.
        && request.version >= Version::HTTP_11
        && headers.get_all(CONTENT_ENCODING).iter().all(is_plain)
        && !headers.get_all(CACHE_CONTROL).iter().any(forbids)
        && !headers.contains_key(TRAILER)
        && !DIGESTS.iter().any(|name| headers.contains_key(*name))
        && length.is_none_or(|bytes| bytes >= rule.min_bytes)
        && is_listed(rule, headers)
}

fn is_listed(rule: &Compression, headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(HeaderValue::to_str) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    rule.media_types.iter().any(|types| types.hold(essence))
}

/// The coding with the highest weight; of equal ones the one that is first in the policy.
fn preferred(rule: &Compression, headers: &HeaderMap) -> Option<Coding> {
    let accepted = Accepted(headers);
    // Without a word about it, whoever lists codings wants one of them.
    let plain = accepted.weight("identity").unwrap_or(0);
    let mut best: Option<(u16, Coding)> = None;
    for coding in &rule.codings {
        let weight = accepted.weight(coding.name());
        let weight = weight.or_else(|| accepted.weight("*")).unwrap_or(0);
        let is_better = best.is_none_or(|(other, _)| weight > other);
        if weight > 0 && weight >= plain && is_better {
            best = Some((weight, *coding));
        }
    }
    best.map(|(_, coding)| coding)
}

struct Accepted<'h>(&'h HeaderMap);

impl Accepted<'_> {
    /// In thousandths; none where the coding is not named.
    fn weight(&self, coding: &str) -> Option<u16> {
        let values = self.0.get_all(ACCEPT_ENCODING).iter();
        let mut items = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        items.find_map(|item| {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let name = name.trim();
            let name = name.strip_prefix("x-").unwrap_or(name);
            name.eq_ignore_ascii_case(coding)
                .then(|| weight(parameters))
        })
    }
}

/// `q=0.5`; 1 where there is none or it cannot be read.
fn weight(parameters: &str) -> u16 {
    let q = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("q")
            .then_some(value.trim())
    });
    let Some((whole, part)) = q.map(|q| q.split_once('.').unwrap_or((q, ""))) else {
        return WEIGHT_MAX;
    };
    match (whole, part.len()) {
        ("0", 0..=3) => format!("{part:0<3}").parse().unwrap_or(WEIGHT_MAX),
        _ => WEIGHT_MAX,
    }
}

/// What the head says about it; a strong tag is one of other bytes (RFC 9110, 8.8.3.3).
pub fn tell(
    response: &mut ResponseHeader,
    choice: Choice,
    version: Version,
    has_body: bool,
) -> Result<()> {
    if choice != Choice::AsItIs {
        add_to_vary(response)?;
    }
    let Choice::Coded(coding) = choice else {
        return Ok(());
    };
    response.insert_header(CONTENT_ENCODING, coding.name())?;
    for name in [CONTENT_LENGTH, ACCEPT_RANGES] {
        response.remove_header(&name);
    }
    let tag = response.headers.get(ETAG).map(HeaderValue::as_bytes);
    if let Some(tag) = tag.filter(|tag| tag.starts_with(b"\"")) {
        response.insert_header(ETAG, [b"W/", tag].concat())?;
    }
    if has_body && version == Version::HTTP_11 {
        response.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

fn add_to_vary(response: &mut ResponseHeader) -> Result<()> {
    const NAME: HeaderName = ACCEPT_ENCODING;
    let has = response.headers.get_all(VARY).iter().any(|value| {
        let names = value.as_bytes().split(|byte| *byte == b',');
        let mut names = names.map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(NAME.as_str().as_bytes()))
    });
    if !has {
        response.append_header(VARY, NAME.as_str())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_policy::model::MediaTypes;

    fn rule() -> Compression {
        Compression {
            codings: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
            min_bytes: 100,
            media_types: vec![
                MediaTypes::One("application/json".into()),
                MediaTypes::Type("text/".into()),
                MediaTypes::Suffix("+json".into()),
            ],
        }
    }

    fn chosen(accept: &[&str], status: u16, fields: &[(&'static str, &str)]) -> Choice {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for value in accept {
            request.append_header(ACCEPT_ENCODING, *value).unwrap();
        }
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        choose(&rule(), &request, Dialect::Http, &response)
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[test]
    fn weights_decide_then_our_order() {
        let of = |accept: &[&str]| chosen(accept, 200, &[JSON]);
        assert_eq!(of(&["gzip, br, zstd"]), Choice::Coded(Coding::Zstd));
        assert_eq!(of(&["gzip", "BR"]), Choice::Coded(Coding::Brotli));
        assert_eq!(of(&["gzip;q=1, br;q=0.9"]), Choice::Coded(Coding::Gzip));
        assert_eq!(of(&["*"]), Choice::Coded(Coding::Zstd));
        assert_eq!(of(&["*;q=0.1, zstd;q=0"]), Choice::Coded(Coding::Brotli));
        assert_eq!(of(&["x-gzip"]), Choice::Coded(Coding::Gzip));
        for declined in [
            &[][..],
            &[""],
            &["deflate"],
            &["gzip;q=0"],
            &["gzip;q=0.000"],
            &["identity, gzip;q=0.5"],
            &["*;q=0"],
        ] {
            assert_eq!(of(declined), Choice::Declined, "{declined:?}");
        }
    }

    #[test]
    fn some_answers_go_as_they_are() {
        let of = |status, fields: &[(&'static str, &str)]| chosen(&["gzip"], status, fields);
        assert_eq!(of(200, &[JSON]), Choice::Coded(Coding::Gzip));
        assert_eq!(of(404, &[JSON]), Choice::Coded(Coding::Gzip));
        assert_eq!(
            of(200, &[("content-type", "application/problem+JSON")]),
            Choice::Coded(Coding::Gzip)
        );
        for (status, fields) in [
            (200, vec![]),
            (200, vec![("content-type", "image/png")]),
            (206, vec![JSON]),
            (204, vec![JSON]),
            (304, vec![JSON]),
            (302, vec![JSON]),
            (200, vec![JSON, ("content-encoding", "br")]),
            (200, vec![JSON, ("cache-control", "public, No-Transform")]),
            (200, vec![JSON, ("content-length", "99")]),
            (200, vec![JSON, ("repr-digest", "sha-256=:AA==:")]),
            (200, vec![JSON, ("trailer", "x")]),
        ] {
            assert_eq!(of(status, &fields), Choice::AsItIs, "{status} {fields:?}");
        }
    }

    #[test]
    fn the_head_tells() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("vary", "origin"),
            ("etag", "\"a\""),
            ("content-length", "7"),
            ("accept-ranges", "bytes"),
        ] {
            response.append_header(name, value).unwrap();
        }
        let coded = Choice::Coded(Coding::Gzip);
        tell(&mut response, coded, Version::HTTP_11, true).unwrap();
        tell(&mut response, Choice::Declined, Version::HTTP_11, true).unwrap();
        let seen: Vec<_> = response
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        for expected in [
            "vary: origin",
            "vary: accept-encoding",
            "etag: W/\"a\"",
            "content-encoding: gzip",
            "transfer-encoding: chunked",
        ] {
            assert!(seen.iter().any(|line| line == expected), "{seen:?}");
        }
        assert_eq!(seen.len(), 5, "{seen:?}");
    }
}
