//! Percent-decoding of path captures and query parameters (RFC 3986 section 2.1).
//!
//! Invariant: a malformed triplet or text that is not UTF-8 is an error, never passed on as it
//! stands: two readers that disagree about `%zz` are how filters get bypassed.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PercentError {
    #[error("`%` is not followed by two hexadecimal digits")]
    Triplet,
    #[error("the decoded text is not utf-8")]
    Utf8,
}

/// Decodes everything.
pub(crate) fn decode(raw: &str) -> Result<Cow<'_, str>, PercentError> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    check_triplets(raw)?;
    percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| PercentError::Utf8)
}

/// Decodes everything but `%2F`, which stays, in the case it was written in: what
/// `google/api/http.proto` asks for in a variable of several segments, so that a slash that is
/// data stays apart from one that separates.
pub(crate) fn decode_keeping_slash(raw: &str) -> Result<Cow<'_, str>, PercentError> {
    let is_slash = |w: &[u8]| w.eq_ignore_ascii_case(b"%2f");
    if !raw.as_bytes().windows(3).any(is_slash) {
        return decode(raw);
    }
    check_triplets(raw)?;
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.as_bytes().windows(3).position(is_slash) {
        let (head, tail) = rest.split_at(at);
        let (slash, tail) = tail.split_at(3);
        bytes.extend(percent_decode_str(head));
        bytes.extend_from_slice(slash.as_bytes());
        rest = tail;
    }
    bytes.extend(percent_decode_str(rest));
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| PercentError::Utf8)
}

/// Decodes `application/x-www-form-urlencoded` text, where `+` is a space.
pub(crate) fn decode_form(raw: &str) -> Result<Cow<'_, str>, PercentError> {
    if !raw.contains('+') {
        return decode(raw);
    }
    decode(&raw.replace('+', " ")).map(|text| Cow::Owned(text.into_owned()))
}

/// Like [`decode_form`], of bytes that need not be text.
pub(crate) fn decode_form_bytes(raw: &str) -> Result<Vec<u8>, PercentError> {
    check_triplets(raw)?;
    Ok(percent_decode_str(&raw.replace('+', " ")).collect())
}

fn check_triplets(raw: &str) -> Result<(), PercentError> {
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
        if byte == b'%' && !(hex(bytes.next()) && hex(bytes.next())) {
            return Err(PercentError::Triplet);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    type Decoded = Result<&'static str, PercentError>;

    #[test]
    fn decoding() {
        let cases: [(&str, Decoded, Decoded); 10] = [
            ("", Ok(""), Ok("")),
            ("a+b", Ok("a+b"), Ok("a+b")),
            ("a%20b", Ok("a b"), Ok("a b")),
            ("a%2Fb%2fc", Ok("a/b/c"), Ok("a%2Fb%2fc")),
            ("%252F", Ok("%2F"), Ok("%2F")),
            ("%C3%A9", Ok("é"), Ok("é")),
            ("%C3", Err(PercentError::Utf8), Err(PercentError::Utf8)),
            (
                "%C3%2F%A9",
                Err(PercentError::Utf8),
                Err(PercentError::Utf8),
            ),
            (
                "%zz",
                Err(PercentError::Triplet),
                Err(PercentError::Triplet),
            ),
            (
                "%2F%2",
                Err(PercentError::Triplet),
                Err(PercentError::Triplet),
            ),
        ];
        for (raw, all, keeping) in cases {
            assert_eq!(decode(raw).as_deref(), all.as_ref().copied(), "{raw}");
            assert_eq!(
                decode_keeping_slash(raw).as_deref(),
                keeping.as_ref().copied(),
                "{raw}"
            );
        }
        assert_eq!(decode_form("a+b%2B").as_deref(), Ok("a b+"));
    }

    proptest! {
        #[test]
        fn round_trip(text in ".*") {
            let raw = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(decode(&raw).unwrap(), text.as_str());
            prop_assert_eq!(decode_form(&raw).unwrap(), text.as_str());
            if !text.contains('/') {
                prop_assert_eq!(decode_keeping_slash(&raw).unwrap(), text.as_str());
            }
        }

        #[test]
        fn any_text_is_decoded_or_refused(raw in "[%a-f0-9/+\\PC]{0,40}") {
            let _ = decode(&raw);
            let _ = decode_form(&raw);
            let _ = decode_keeping_slash(&raw);
        }
    }
}
