//! The request line (RFC 9112, 3): method, target in its four forms, version.

use std::ops::Range;

use memchr::memchr;

use super::field::is_tchar;
use super::refusal::Refusal;

/// Longest request target (RFC 9110, 4.1 asks for at least 8,000).
pub(super) const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Longest method; the longest registered one has 17 characters.
const METHOD_BYTES_MAX: usize = 32;
const VERSION_BYTES: usize = "HTTP/1.1".len();
pub(super) const START_LINE_BYTES_MAX: usize =
    METHOD_BYTES_MAX + TARGET_BYTES_MAX + VERSION_BYTES + 2;

pub(super) const NO_METHOD: Refusal =
    Refusal::Malformed("the request line does not begin with a method");

#[derive(Debug)]
pub(super) struct StartLine {
    pub(super) is_http10: bool,
    /// Of a target in absolute form: where in the head it is.
    pub(super) authority: Option<Range<usize>>,
}

impl StartLine {
    /// Method, target and version with single spaces between them. `offset` is where the line begins.
    pub(super) fn parse(line: &[u8], offset: usize) -> Result<Self, Refusal> {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let mut part = || parts.next().unwrap_or(&[]);
        let (method, target, version) = (part(), part(), part());
        if method.is_empty() || !method.iter().all(|byte| is_tchar(*byte)) {
            return Err(NO_METHOD);
        }
        if method.len() > METHOD_BYTES_MAX {
            return Err(Refusal::NotImplemented("the method is not known here"));
        }
        if target.is_empty() {
            return Err(Refusal::Malformed(
                "the request line is not method, target and version with one space between them",
            ));
        }
        let is_http10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Refusal::UnknownVersion);
            }
            _ => {
                return Err(Refusal::Malformed(
                    "the request line does not end with an HTTP version",
                ));
            }
        };
        if target.len() > TARGET_BYTES_MAX {
            return Err(Refusal::TargetTooLong);
        }
        if !has_only_target_characters(target) {
            return Err(Refusal::Malformed(
                "the request target has a character that must be percent-encoded",
            ));
        }
        let target_at = offset + method.len() + 1;
        Ok(Self {
            is_http10,
            authority: authority(method, target)?
                .map(|range| target_at + range.start..target_at + range.end),
        })
    }
}

/// Of the characters that no URI has (RFC 3986, 2), those pass that clients send as they are and
/// Pingora takes. A fragment is never sent (RFC 9110, 7.1), and servers differ on where the path then ends.
fn has_only_target_characters(target: &[u8]) -> bool {
    let query = memchr(b'?', target).unwrap_or(target.len());
    let mut bytes = target.iter().enumerate();
    bytes.all(|(at, byte)| match byte {
        b'#' | b'<' | b'>' => false,
        b'`' => at > query,
        b'"' => at < query,
        byte => byte.is_ascii_graphic(),
    })
}

/// The four forms of a target (RFC 9112, 3.2); where the authority of an absolute one is.
fn authority(method: &[u8], target: &[u8]) -> Result<Option<Range<usize>>, Refusal> {
    if method == b"CONNECT" {
        return Err(Refusal::NotImplemented("CONNECT is not served here"));
    }
    if target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS") {
        return Ok(None);
    }
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        let start = target.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    });
    let begin = scheme.map_or(0, str::len);
    let rest = target.get(begin..).unwrap_or(&[]);
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    let range = begin..begin + end.unwrap_or(rest.len());
    if scheme.is_none() || !target.get(range.clone()).is_some_and(is_authority) {
        return Err(Refusal::Malformed(
            "the request target is neither a path nor an http or https URI",
        ));
    }
    Ok(Some(range))
}

/// Host and port (RFC 3986, 3.2.2 and 3.2.3) in the characters that names and addresses have.
pub(super) fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text.iter().rposition(|byte| *byte == b':') {
        Some(colon) if text.last() != Some(&b']') => text.split_at(colon),
        _ => (text, &[][..]),
    };
    let port = port.strip_prefix(b":").unwrap_or(port);
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let address = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let bracketed = host
        .strip_prefix(b"[")
        .and_then(|host| host.strip_suffix(b"]"));
    let good_host = match bracketed {
        Some(inside) => !inside.is_empty() && inside.iter().all(address),
        None => !host.is_empty() && host.iter().all(name),
    };
    good_host && port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}
