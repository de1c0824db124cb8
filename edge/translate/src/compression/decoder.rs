//! Unpacks what comes piece by piece.
//!
//! Invariant: holds one piece of input and what its coding needs: 32 KiB for gzip, 8 MiB for zstd, 16 MiB
//! for brotli, and less while less has come out.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;

use super::{ALWAYS_BYTES, Coding, RATIO_MAX, Refused, STEP_BYTES};

/// Largest window of zstd, as a power of two: 8 MiB, what RFC 8878 section 3.1.1.1.2 recommends.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

pub(super) struct Decoder {
    coding: Coding,
    reader: Reader,
    bytes_in: usize,
    bytes_out: usize,
    /// Bytes that may come out, whatever went in.
    bytes_max: usize,
}

enum Reader {
    Gzip(Box<MultiGzDecoder<Input>>),
    Brotli(Box<brotli::Decompressor<Input>>),
    Zstd(zstd::Decoder<'static, Input>),
}

/// What has come and was not read yet.
#[derive(Default)]
struct Input {
    piece: Bytes,
    is_last: bool,
}

impl Decoder {
    pub(super) fn new(coding: Coding, bytes_max: usize) -> Result<Self, Refused> {
        let input = Input::default();
        let reader = match coding {
            Coding::Gzip => Reader::Gzip(Box::new(MultiGzDecoder::new(input))),
            Coding::Brotli => {
                Reader::Brotli(Box::new(brotli::Decompressor::new(input, STEP_BYTES)))
            }
            Coding::Zstd => {
                let malformed = |_| Refused::Malformed(coding.name());
                let mut decoder = zstd::Decoder::with_buffer(input).map_err(malformed)?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG_MAX)
                    .map_err(malformed)?;
                Reader::Zstd(decoder)
            }
        };
        Ok(Self {
            coding,
            reader,
            bytes_in: 0,
            bytes_out: 0,
            bytes_max,
        })
    }

    /// The next piece. Call [`Self::read`] until it asks for more before pushing more.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.bytes_in = self.bytes_in.saturating_add(piece.len());
        self.reader.input().piece = piece;
    }

    /// There are no more pieces.
    pub(super) fn end(&mut self) {
        self.reader.input().is_last = true;
    }

    /// How many bytes have come out into `step`: none at the end; `None` until there is more input.
    ///
    /// # Errors
    /// Too much comes out, or it is not of this coding.
    pub(super) fn read(&mut self, step: &mut [u8]) -> Result<Option<usize>, Refused> {
        let is_last = self.reader.input().is_last;
        if self.bytes_in == 0 {
            // Nothing is not compressed, whatever its header says.
            return Ok(is_last.then_some(0));
        }
        let read = match self.reader.read(step) {
            Ok(0) if !self.is_at_end(step) => return Err(Refused::Malformed(self.coding.name())),
            // Brotli knows its end before the body's.
            Ok(0) if !is_last => return Ok(None),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(_) => return Err(Refused::Malformed(self.coding.name())),
        };
        self.bytes_out = self.bytes_out.saturating_add(read);
        if self.bytes_out > self.bytes_max {
            return Err(Refused::TooLong(self.bytes_max));
        }
        if self.bytes_out > self.bytes_in.saturating_mul(RATIO_MAX).max(ALWAYS_BYTES) {
            return Err(Refused::Ratio);
        }
        Ok(Some(read))
    }

    /// Nothing stands behind the end, neither in the input nor in what the reader took of it.
    fn is_at_end(&mut self, step: &mut [u8]) -> bool {
        matches!(self.reader.read(step), Ok(0)) && self.reader.input().piece.is_empty()
    }
}

impl Reader {
    fn input(&mut self) -> &mut Input {
        match self {
            Self::Gzip(reader) => reader.get_mut(),
            Self::Brotli(reader) => reader.get_mut(),
            Self::Zstd(reader) => reader.get_mut(),
        }
    }

    fn read(&mut self, step: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(reader) => reader.read(step),
            Self::Brotli(reader) => reader.read(step),
            Self::Zstd(reader) => reader.read(step),
        }
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Input {
    /// Until there is more the readers keep what they were about.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty() && !self.is_last {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, bytes: usize) {
        self.piece.advance(bytes.min(self.piece.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out where the input comes in pieces; `None` where it is refused.
    fn unpacked(coding: Coding, input: &Bytes, piece: usize, step: usize) -> Option<Vec<u8>> {
        let mut decoder = Decoder::new(coding, usize::MAX).unwrap();
        let mut pieces = input.chunks(piece);
        let mut step = vec![0; step];
        let mut out = Vec::new();
        loop {
            match decoder.read(&mut step).ok()? {
                Some(0) => return Some(out),
                Some(read) => out.extend_from_slice(&step[..read]),
                None => match pieces.next() {
                    Some(piece) => decoder.push(Bytes::copy_from_slice(piece)),
                    None => decoder.end(),
                },
            }
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(
            words in prop::collection::vec("[a-f]{1,8}", 300..900),
            coding in prop::sample::select(&Coding::ALL[..]),
            piece in 1_usize..400,
            step in 1_usize..5000,
            lost in 1_usize..100,
        ) {
            let text = words.join(" ").into_bytes();
            let small = Bytes::from(coding.compress(&text).unwrap());
            prop_assert_eq!(unpacked(coding, &small, piece, step), Some(text));
            let cut = small.slice(..small.len() - lost);
            prop_assert_eq!(unpacked(coding, &cut, piece, step), None);
            let longer = Bytes::from([&small[..], b"x"].concat());
            prop_assert_eq!(unpacked(coding, &longer, piece, step), None);
        }
    }

    #[test]
    fn a_bomb_goes_no_further_than_its_bound() {
        let bomb = vec![0; 8 * 1024 * 1024];
        for coding in Coding::ALL {
            let small = Bytes::from(coding.compress(&bomb).unwrap());
            let mut decoder = Decoder::new(coding, usize::MAX).unwrap();
            decoder.push(small.clone());
            let mut step = [0; STEP_BYTES];
            let mut out = 0;
            let refused = loop {
                match decoder.read(&mut step) {
                    Ok(read) => out += read.unwrap(),
                    Err(refused) => break refused,
                }
            };
            assert_eq!(refused, Refused::Ratio);
            assert!(out <= (small.len() * RATIO_MAX).max(ALWAYS_BYTES), "{out}");
        }
    }
}
