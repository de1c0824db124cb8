//! Messages that are compressed one by one.
//!
//! Invariant: what comes out of a decoder is bounded by its length and by its ratio to what went in,
//! while it comes out: a bomb is refused before it has gone off.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// Read from a decoder at a time, in bytes.
const STEP_BYTES: usize = 16 * 1024;

/// Bytes out of one byte in. JSON of many alike records comes to some fifty.
const RATIO_MAX: usize = 100;

/// Whatever the ratio, so much may come out, in bytes: short messages of one letter are no attack.
const ALWAYS_BYTES: usize = 64 * 1024;

/// Largest window of zstd, as a power of two: 8 MiB, what RFC 8878 section 3.1.1.1.2 recommends.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Smaller messages are sent as they are, in bytes: they would hardly become shorter.
const COMPRESSED_BYTES_MIN: usize = 1024;

/// Window and effort of brotli: what servers use for answers that are made on the fly.
const BROTLI: (u32, u32) = (4, 20);

const ZSTD_LEVEL: i32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
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

impl Coding {
    pub(crate) const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// As they are listed for clients.
    pub(crate) const NAMES: &'static str = "gzip, br, zstd";

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Names of codings are compared without case (RFC 9110 section 8.4.1).
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|coding| coding.name().eq_ignore_ascii_case(name))
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
    pub(crate) fn decompress(self, bytes: &[u8], bytes_max: usize) -> Result<Bytes, Refused> {
        let malformed = |_| Refused::Malformed(self.name());
        match self {
            Self::Gzip => self.read(MultiGzDecoder::new(bytes), bytes.len(), bytes_max),
            Self::Brotli => {
                let decoder = brotli::Decompressor::new(bytes, STEP_BYTES);
                self.read(decoder, bytes.len(), bytes_max)
            }
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(bytes).map_err(malformed)?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG_MAX)
                    .map_err(malformed)?;
                self.read(decoder, bytes.len(), bytes_max)
            }
        }
    }

    fn read(
        self,
        mut decoder: impl Read,
        length: usize,
        bytes_max: usize,
    ) -> Result<Bytes, Refused> {
        let by_ratio = length.saturating_mul(RATIO_MAX).max(ALWAYS_BYTES);
        let mut out = Vec::with_capacity(length.saturating_mul(2).min(bytes_max));
        let mut step = [0; STEP_BYTES];
        loop {
            let read = match decoder.read(&mut step) {
                Ok(0) => return Ok(out.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(Refused::Malformed(self.name())),
            };
            out.extend_from_slice(step.get(..read).unwrap_or_default());
            if out.len() > bytes_max {
                return Err(Refused::TooLong(bytes_max));
            }
            if out.len() > by_ratio {
                return Err(Refused::Ratio);
            }
        }
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

    #[test]
    fn what_goes_in_comes_out() {
        let text = b"to and fro, ".repeat(1000);
        for coding in Coding::ALL {
            let small = coding.compress(&text).unwrap();
            assert!(small.len() < text.len() / 2, "{coding:?}");
            let max = text.len();
            assert_eq!(coding.decompress(&small, max).unwrap(), text, "{coding:?}");
            let refused = coding.decompress(&small, max - 1);
            assert_eq!(refused, Err(Refused::TooLong(max - 1)), "{coding:?}");
            let half = &small[..small.len() / 2];
            let refused = coding.decompress(half, max);
            assert_eq!(refused, Err(Refused::Malformed(coding.name())));
            let refused = coding.decompress(b"plain text", max);
            assert_eq!(refused, Err(Refused::Malformed(coding.name())));
            assert_eq!(coding.compress(b"short"), None);
        }
    }

    #[test]
    fn bombs_are_refused() {
        let bomb = vec![0; 8 * 1024 * 1024];
        for coding in Coding::ALL {
            let small = coding.compress(&bomb).unwrap();
            let refused = coding.decompress(&small, usize::MAX);
            assert_eq!(refused, Err(Refused::Ratio), "{coding:?}");
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
