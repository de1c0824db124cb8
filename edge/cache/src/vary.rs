//! `Vary` (RFC 9111 section 4.1): which request fields choose a response, and the hash over them.
//!
//! Invariant: equal variance means equal values of all fields named, in number and order of lines.
//! Refuses `*`, names that are no field names, and long lists, each of which can't be matched soundly.

use std::collections::BTreeSet;

use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, VARY};
use pingora_cache::VarianceBuilder;
use pingora_cache::key::HashBinary;
use pingora_http::RequestHeader;

/// Fields an origin may vary by; each one multiplies the entries a client can create.
pub const VARY_FIELDS_MAX: usize = 8;
/// Content codings whose sets are compared without order or weights.
const CODINGS: [&str; 4] = ["br", "deflate", "gzip", "zstd"];

/// Why a `Vary` makes its response unfit for storing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatchable {
    /// `*`: no other request matches.
    Any,
    /// Not a list of field names.
    Malformed,
    /// More than [`VARY_FIELDS_MAX`] different fields.
    TooMany,
}

/// The request fields a response varies by; empty when it does not.
///
/// # Errors
/// When the response must not be stored for its `Vary`.
pub fn fields(response: &HeaderMap) -> Result<BTreeSet<FieldName>, Unmatchable> {
    let mut fields = BTreeSet::new();
    for line in response.get_all(VARY) {
        for name in line.as_bytes().split(|byte| *byte == b',') {
            let name = name.trim_ascii();
            match name {
                b"" => continue,
                b"*" => return Err(Unmatchable::Any),
                _ => {}
            }
            let name = HeaderName::from_bytes(name).map_err(|_| Unmatchable::Malformed)?;
            fields.insert(FieldName(name));
            if fields.len() > VARY_FIELDS_MAX {
                return Err(Unmatchable::TooMany);
            }
        }
    }
    Ok(fields)
}

/// A field name ordered by its characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName(pub HeaderName);

impl Ord for FieldName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl PartialOrd for FieldName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Pingora's variance for `request` under the stored (or just received) response's fields.
/// `None`: the response does not vary, or is one that [`crate::decide`] does not store.
#[must_use]
pub fn variance(response: &HeaderMap, request: &RequestHeader) -> Option<HashBinary> {
    let fields = fields(response).ok()?;
    let mut builder = VarianceBuilder::new();
    for field in &fields {
        let values = request.headers.get_all(&field.0);
        let value = if field.0 == ACCEPT_ENCODING {
            codings(values.iter()).unwrap_or_else(|| framed(values.iter()))
        } else {
            framed(values.iter())
        };
        builder.add_owned_value(field.0.as_str(), value);
    }
    builder.finalize()
}

/// All lines, each with its length in front: `a, b` in one line and in two are kept apart, and no
/// value can imitate the next field of the hash.
fn framed<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> Vec<u8> {
    let mut framed = vec![b'='];
    for value in values {
        framed.extend_from_slice(&(value.len() as u64).to_be_bytes());
        framed.extend_from_slice(value.as_bytes());
    }
    framed
}

/// The set of well-known codings accepted, or none where the field says anything else (another
/// coding, `*`, `identity`, a malformed weight): then its exact text decides.
/// Browsers differ in order and spacing only; without this each would have entries of its own.
fn codings<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> Option<Vec<u8>> {
    let mut accepted = BTreeSet::new();
    let mut seen = false;
    for value in values {
        for item in value.to_str().ok()?.split(',') {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next()?.to_ascii_lowercase();
            let coding = CODINGS.iter().find(|coding| **coding == name)?;
            seen = true;
            let weight = match parts.next() {
                None => 1.0,
                Some(parameter) => parameter.strip_prefix("q=")?.parse::<f32>().ok()?,
            };
            if parts.next().is_some() || !(0.0..=1.0).contains(&weight) {
                return None;
            }
            if weight > 0.0 {
                accepted.insert(*coding);
            } else {
                // A coding named twice, once refused: leave it to the exact text.
                return None;
            }
        }
    }
    let list = accepted.into_iter().collect::<Vec<_>>().join(",");
    seen.then(|| format!("#{list}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vary(lines: &[&str]) -> HeaderMap {
        lines
            .iter()
            .map(|line| (VARY, HeaderValue::from_str(line).unwrap()))
            .collect()
    }

    fn request(fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    #[test]
    fn lists_are_read_and_bounded() {
        let check = |lines: &[&str], expected: Result<&[&str], Unmatchable>| {
            let found = fields(&vary(lines))
                .map(|set| set.iter().map(|f| f.0.to_string()).collect::<Vec<_>>());
            assert_eq!(
                found,
                expected.map(|names| names.iter().map(|n| (*n).to_owned()).collect()),
                "{lines:?}"
            );
        };
        check(&[], Ok(&[]));
        check(&["Accept, origin", "ACCEPT"], Ok(&["accept", "origin"]));
        check(&[" , ,"], Ok(&[]));
        check(&["accept, *"], Err(Unmatchable::Any));
        check(&["a b"], Err(Unmatchable::Malformed));
        check(
            &["a,b,c,d,e,f,g,h"],
            Ok(&["a", "b", "c", "d", "e", "f", "g", "h"]),
        );
        check(&["a,b,c,d,e,f,g,h", "i"], Err(Unmatchable::TooMany));
    }

    #[test]
    fn variance_separates_and_joins() {
        type Fields<'a> = &'a [(&'static str, &'a str)];
        let check = |lines: &[&str], left: Fields, right: Fields, equal: bool| {
            let vary = vary(lines);
            let (l, r) = (
                variance(&vary, &request(left)),
                variance(&vary, &request(right)),
            );
            assert!(l.is_some() && r.is_some());
            assert_eq!(l == r, equal, "{lines:?} {left:?} {right:?}");
        };
        check(
            &["accept"],
            &[("accept", "a")],
            &[("accept", "a"), ("origin", "x")],
            true,
        );
        check(&["accept"], &[("accept", "a")], &[("accept", "b")], false);
        check(&["accept"], &[], &[("accept", "")], false);
        check(
            &["accept"],
            &[("accept", "a"), ("accept", "b")],
            &[("accept", "b"), ("accept", "a")],
            false,
        );
        check(&["x-a, x-b"], &[("x-a", "1")], &[("x-b", "1")], false);
        check(
            &["x-b, x-a"],
            &[("x-a", "1"), ("x-b", "2")],
            &[("x-b", "2"), ("x-a", "1")],
            true,
        );
        let encoding = |left, right, equal| {
            let name = "accept-encoding";
            check(
                &["Accept-Encoding"],
                &[(name, left)],
                &[(name, right)],
                equal,
            );
        };
        encoding("gzip, br", "br;q=0.5,GZIP", true);
        encoding("gzip, br", "gzip", false);
        encoding("gzip;q=0, br", "br", false);
        encoding("gzip, identity;q=0", "gzip", false);
        encoding("gzip, *", "gzip", false);
        encoding("gzip, x-new", "gzip", false);
        encoding("x-new,gzip", "x-new, gzip", false);
        check(
            &["accept-encoding"],
            &[],
            &[("accept-encoding", "gzip")],
            false,
        );
        check(&["accept-encoding"], &[], &[("accept-encoding", "")], false);
    }

    #[test]
    fn no_vary_no_variance() {
        assert_eq!(variance(&HeaderMap::new(), &request(&[])), None);
    }
}
