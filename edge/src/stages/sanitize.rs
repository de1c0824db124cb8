//! One reading of the request: what is judged here is what is sent on.
//!
//! The path becomes canonical in place, spellings that upstreams read differently are refused
//! (CVE-2021-29492 and its kind), and headers by which a client could claim to be somebody, or
//! to come from somewhere, are removed.

use std::borrow::Cow;
use std::collections::HashSet;

use http::header::{AUTHORIZATION, COOKIE, EXPECT, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use pingora_http::RequestHeader;
use pingora_http::authority::{RawTargetAuthority, raw_target_authority};

use crate::rejection::Rejection;

/// Longest request target in bytes (RFC 9110, 4.1 asks for at least 8,000).
const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Fields of one request: many small ones cost more memory than their bytes show.
const FIELDS_MAX: usize = 100;
/// Names and values of one request together.
const FIELD_BYTES_MAX: usize = 64 * 1024;
/// A DNS name has at most 253 characters (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// Fields that only the edge may set, beyond `x-forwarded-*` and those named by policies.
const RESERVED: [&str; 11] = [
    // RFC 9440, 2.4.
    "client-cert",
    "client-cert-chain",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "x-request-id",
    "x-original-url",
    "x-rewrite-url",
    "x-user-id",
    "x-palisade-mirror",
];

/// Fields that policies fill from claims, with those that are always ours.
pub fn reserved_headers(claims: impl Iterator<Item = HeaderName>) -> HashSet<HeaderName> {
    RESERVED
        .iter()
        .map(|name| HeaderName::from_static(name))
        .chain(claims)
        .collect()
}

/// Check the head and make it canonical. Returns the host: lower case, no port, no final dot.
pub fn in_place(
    head: &mut RequestHeader,
    reserved: &HashSet<HeaderName>,
) -> Result<String, Rejection> {
    check_sizes(head)?;
    let host = host(head)?;
    // RFC 9110, 10.1.1: ignored, and the upstream would be told that it is HTTP/1.1.
    if head.version == Version::HTTP_10 {
        head.remove_header(&EXPECT);
    }
    canonical_target(head)?;
    if head.headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return Err(Rejection::Malformed("more than one authorization field"));
    }
    remove_claimed(head, reserved);
    join_cookies(head)?;
    Ok(host)
}

fn check_sizes(head: &RequestHeader) -> Result<(), Rejection> {
    if head.raw_path().len() > TARGET_BYTES_MAX {
        return Err(Rejection::UriTooLong);
    }
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    if head.headers.len() > FIELDS_MAX
        || head.headers.iter().map(bytes).sum::<usize>() > FIELD_BYTES_MAX
    {
        return Err(Rejection::HeadersTooLarge);
    }
    if head.headers.values().any(is_padded) {
        return Err(Rejection::Malformed(
            "a field value begins or ends with whitespace",
        ));
    }
    Ok(())
}

/// Malformed on h2 and h3 (RFC 9113, 8.2.1): HTTP/1.1 upstreams would read another value than was judged.
fn is_padded(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    bytes.len() != bytes.trim_ascii().len()
}

/// The authority that the client asked for; a request that names two is refused (RFC 9112, 3.2).
fn host(head: &RequestHeader) -> Result<String, Rejection> {
    let mut fields = head.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Rejection::Malformed("more than one host field"));
    }
    let field = match field {
        Some(value) => Some(
            value
                .to_str()
                .map_err(|_| Rejection::Malformed("bad host"))?,
        ),
        None => None,
    };
    let target = head.uri.authority().map(|authority| authority.as_str());
    let authority = match (target, field) {
        (Some(target), Some(field)) if !target.eq_ignore_ascii_case(field) => {
            return Err(Rejection::Malformed(
                "the host field differs from the request target",
            ));
        }
        (Some(target), _) => target,
        (None, Some(field)) => field,
        // HTTP/1.0 may come without one; only routes for any host serve it.
        (None, None) if head.version == Version::HTTP_10 => "",
        (None, None) => return Err(Rejection::Malformed("no host")),
    };
    let name = without_port(authority).trim_end_matches('.');
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if name.len() > HOST_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(Rejection::Malformed("bad host"));
    }
    Ok(name.to_ascii_lowercase())
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    }
}

fn canonical_target(head: &mut RequestHeader) -> Result<(), Rejection> {
    let Some(target) = head.uri.path_and_query() else {
        return Err(Rejection::Malformed("no path"));
    };
    if target.path() == "*" && head.method == Method::OPTIONS {
        return Err(Rejection::ServerOptions);
    }
    // RFC 9112, 3.2.2: accepted from all clients, and passed on as a path. The authority is the
    // one in the host field.
    if matches!(
        raw_target_authority(head.raw_path()),
        RawTargetAuthority::Absolute { .. }
    ) {
        let target = target.clone();
        head.set_uri(Uri::from(target));
        return canonical_target(head);
    }
    // What Pingora kept as raw bytes differs from what it parsed only where the target is not ASCII.
    if head.raw_path() != target.as_str().as_bytes() {
        return Err(Rejection::Malformed(
            "the request target has bytes outside of ASCII",
        ));
    }
    // Not `target.path()`: that reads an empty path, as in `#fragment`, as `/`.
    let Cow::Owned(path) = canonical_path(head.uri.path())? else {
        return Ok(());
    };
    let canonical = match target.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let target = PathAndQuery::try_from(canonical).map_err(|_| Rejection::Malformed("bad path"))?;
    let mut parts = head.uri.clone().into_parts();
    parts.path_and_query = Some(target);
    let uri = Uri::from_parts(parts).map_err(|_| Rejection::Malformed("bad request target"))?;
    head.set_uri(uri);
    Ok(())
}

/// The one spelling of a path (RFC 3986, 6.2.2): unreserved characters decoded, the rest of the
/// escapes in upper case, runs of `/` merged. Refused: dot segments, `\`, `;`, and escapes of
/// `/`, `\`, `;`, NUL and other controls, because servers disagree about what they mean.
pub fn canonical_path(path: &str) -> Result<Cow<'_, str>, Rejection> {
    if !path.starts_with('/') {
        return Err(Rejection::Malformed("the path does not begin with a slash"));
    }
    let suspicious = |b: u8| matches!(b, b'%' | b'\\' | b';') || !(0x21..0x7f).contains(&b);
    let plain = !path.bytes().any(suspicious) && !path.contains("//");
    let canonical = if plain {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(decode(path)?)
    };
    let is_dots = |segment: &str| segment == "." || segment == "..";
    if canonical.split('/').any(is_dots) {
        return Err(Rejection::Malformed("the path has a dot segment"));
    }
    Ok(canonical)
}

fn decode(path: &str) -> Result<String, Rejection> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'/' if out.ends_with('/') => {}
            b'%' => {
                let digits = (bytes.next().and_then(hex), bytes.next().and_then(hex));
                let (Some(high), Some(low)) = digits else {
                    return Err(Rejection::Malformed("the path has a broken percent escape"));
                };
                push_decoded(&mut out, high * 16 + low)?;
            }
            b'\\' | b';' => {
                return Err(Rejection::Malformed(
                    "the path has a character that servers read differently",
                ));
            }
            0x21..0x7f => out.push(char::from(byte)),
            _ => return Err(Rejection::Malformed("the path has a control character")),
        }
    }
    Ok(out)
}

fn push_decoded(out: &mut String, byte: u8) -> Result<(), Rejection> {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out.push(char::from(byte));
        }
        b'/' | b'\\' | b';' | 0..0x20 | 0x7f => {
            return Err(Rejection::Malformed(
                "the path has an escape that servers read differently",
            ));
        }
        other => {
            const HEX: [u8; 16] = *b"0123456789ABCDEF";
            out.push('%');
            for digit in [other >> 4, other & 15] {
                out.push(char::from(
                    HEX.get(usize::from(digit)).copied().unwrap_or(b'0'),
                ));
            }
        }
    }
    Ok(())
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Names with `_` go as well: CGI-like upstreams read `x_user_id` as `x-user-id`.
fn remove_claimed(head: &mut RequestHeader, reserved: &HashSet<HeaderName>) {
    let is_claimed = |name: &HeaderName| {
        let text = name.as_str();
        text.starts_with("x-forwarded-") || text.contains('_') || reserved.contains(name)
    };
    if !head.headers.keys().any(is_claimed) {
        return;
    }
    let claimed: Vec<HeaderName> = head
        .headers
        .keys()
        .filter(|name| is_claimed(name))
        .cloned()
        .collect();
    for name in claimed {
        head.remove_header(&name);
    }
}

/// h2 and h3 split cookies for compression; HTTP/1.1 has one field (RFC 9113, 8.2.3).
fn join_cookies(head: &mut RequestHeader) -> Result<(), Rejection> {
    if head.headers.get_all(COOKIE).iter().nth(1).is_none() {
        return Ok(());
    }
    let joined = join(&head.headers);
    let value = HeaderValue::from_bytes(&joined).map_err(|_| Rejection::Malformed("bad cookie"))?;
    head.insert_header(COOKIE, value)
        .map_err(|_| Rejection::Malformed("bad cookie"))
}

fn join(headers: &HeaderMap) -> Vec<u8> {
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        // Joined, an empty one would leave white space at an end.
        .filter(|crumb| !crumb.is_empty())
        .collect();
    crumbs.join(&b"; "[..])
}

#[cfg(test)]
mod tests;
