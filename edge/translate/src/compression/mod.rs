//! Compressed messages and bodies.
//!
//! Invariant: what comes out of a decoder is bounded by its length and by its ratio to what went in,
//! while it comes out: a bomb is refused before it has gone off.

mod decoder;
mod unpacked;

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName};

use self::decoder::Decoder;
pub(crate) use self::unpacked::Unpacked;

/// Read from a decoder at a time, in bytes.
const STEP_BYTES: usize = 16 * 1024;

/// Bytes out of one byte in. JSON of many alike records comes to some fifty.
const RATIO_MAX: usize = 100;

/// Whatever the ratio, so much may come out, in bytes: short messages of one letter are no attack.
const ALWAYS_BYTES: usize = 64 * 1024;

/// Smaller messages are sent as they are, in bytes: they would hardly become shorter.
const COMPRESSED_BYTES_MIN: usize = 1024;

/// Window and effort of brotli: what servers use for answers that are made on the fly.
const BROTLI: (u32, u32) = (4, 20);

const ZSTD_LEVEL: i32 = 3;

/// A content coding (RFC 9110, section 8.4.1; RFC 7932; RFC 9659).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("it is longer than `{0}` bytes")]
    TooLong(usize),
    #[error("it becomes more than {RATIO_MAX} times as long")]
    Ratio,
    #[error("it is not {0}")]
    Malformed(&'static str),
}

/// A coding that nobody here knows, or several of them.
#[derive(Debug)]
pub(crate) struct Unknown;

impl Coding {
    pub(crate) const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// As they are listed for clients.
    pub(crate) const NAMES: &'static str = "gzip, br, zstd";

    /// As it is registered.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Names of codings are compared without case, and `x-gzip` is an old one of `gzip` (RFC 9110
    /// sections 8.4.1 and 8.4.1.3).
    pub(crate) fn of(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL
            .into_iter()
            .find(|coding| coding.name().eq_ignore_ascii_case(name))
    }

    /// What was sent under this name; nothing is done to what is `identity`.
    pub(crate) fn sent(name: &str) -> Result<Option<Self>, Unknown> {
        if name.is_empty() || name.eq_ignore_ascii_case("identity") {
            return Ok(None);
        }
        Self::of(name).map(Some).ok_or(Unknown)
    }

    /// Like [`Self::sent`], of the header with this name.
    pub(crate) fn sent_by(headers: &HeaderMap, name: HeaderName) -> Result<Option<Self>, Unknown> {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Self::sent(value.to_str().map_err(|_| Unknown)?),
            _ => Err(Unknown),
        }
    }

    /// The first that is known of a list as `accept-encoding` has it, weights aside.
    pub(crate) fn accepted(list: &str) -> Option<Self> {
        list.split(',').find_map(|item| {
            let (name, weight) = item.split_once(';').unwrap_or((item, ""));
            let refused = matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
            Self::of(name.trim()).filter(|_| !refused)
        })
    }

    /// # Errors
    /// More than `bytes_max` or [`RATIO_MAX`] comes out, or it is not of this coding.
    pub(crate) fn decompress(self, bytes: &Bytes, bytes_max: usize) -> Result<Bytes, Refused> {
        let mut out = Vec::with_capacity(bytes.len().saturating_mul(2).min(bytes_max));
        let mut decoder = Decoder::new(self, bytes_max)?;
        decoder.push(bytes.clone());
        decoder.end();
        let mut step = [0; STEP_BYTES];
        while let Some(read @ 1..) = decoder.read(&mut step)? {
            out.extend_from_slice(step.get(..read).unwrap_or_default());
        }
        Ok(out.into())
    }

    /// `None` where that would gain nothing.
    pub(crate) fn compress(self, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.len() < COMPRESSED_BYTES_MIN {
            return None;
        }
        let compressed = match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).ok()?;
                encoder.finish().ok()?
            }
            Self::Brotli => {
                let (quality, window) = BROTLI;
                let mut encoder =
                    brotli::CompressorWriter::new(Vec::new(), STEP_BYTES, quality, window);
                encoder.write_all(bytes).ok()?;
                encoder.into_inner()
            }
            Self::Zstd => zstd::encode_all(bytes, ZSTD_LEVEL).ok()?,
        };
        (compressed.len() < bytes.len()).then_some(compressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(coding: Coding, bytes: &[u8]) -> Bytes {
        coding.compress(bytes).unwrap().into()
    }

    #[test]
    fn what_goes_in_comes_out() {
        let text = b"to and fro, ".repeat(1000);
        for coding in Coding::ALL {
            let small = packed(coding, &text);
            assert!(small.len() < text.len() / 2, "{coding:?}");
            let max = text.len();
            assert_eq!(coding.decompress(&small, max).unwrap(), text, "{coding:?}");
            let refused = coding.decompress(&small, max - 1);
            assert_eq!(refused, Err(Refused::TooLong(max - 1)), "{coding:?}");
            assert_eq!(coding.compress(b"short"), None);
        }
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let text = b"to and fro, ".repeat(1000);
        for coding in Coding::ALL {
            let small = packed(coding, &text);
            let half = small.slice(..small.len() / 2);
            let but_one = small.slice(..small.len() - 1);
            let longer = Bytes::from([&small[..], b"x"].concat());
            for wrong in [half, but_one, longer, Bytes::from_static(b"plain text")] {
                let refused = coding.decompress(&wrong, usize::MAX);
                assert_eq!(refused, Err(Refused::Malformed(coding.name())));
            }
            // RFC 1952 section 2.2, RFC 8878 section 3.1; brotli has one stream.
            let twice = Bytes::from([&small[..], &small[..]].concat());
            let refused = coding.decompress(&twice, usize::MAX);
            match coding {
                Coding::Brotli => assert_eq!(refused, Err(Refused::Malformed("br"))),
                _ => assert_eq!(refused.unwrap(), text.repeat(2)),
            }
            assert_eq!(coding.decompress(&Bytes::new(), 0).unwrap(), "");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let bomb = vec![0; 8 * 1024 * 1024];
        for coding in Coding::ALL {
            let small = packed(coding, &bomb);
            let refused = coding.decompress(&small, usize::MAX);
            assert_eq!(refused, Err(Refused::Ratio), "{coding:?}");
        }
    }

    #[test]
    fn codings_that_are_sent() {
        for (name, expected) in [
            ("", None),
            ("Identity", None),
            ("GZIP", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("br", Some(Coding::Brotli)),
            ("zstd", Some(Coding::Zstd)),
        ] {
            assert_eq!(Coding::sent(name).unwrap(), expected, "{name}");
        }
        for name in ["deflate", "gzip, br", "gzip,gzip", "x-br", "*"] {
            assert!(Coding::sent(name).is_err(), "{name}");
        }
    }

    #[test]
    fn accepted_codings() {
        for (list, expected) in [
            ("", None),
            ("identity", None),
            ("gzip", Some(Coding::Gzip)),
            ("snappy, BR;q=0.5, gzip", Some(Coding::Brotli)),
            ("gzip;q=0, zstd", Some(Coding::Zstd)),
        ] {
            assert_eq!(Coding::accepted(list), expected, "{list}");
        }
    }
}
