//! The framing of a chunked body, judged as it passes (RFC 9112, 7.1).
//!
//! Pingora decodes the body and frames it anew, so extensions and trailers end here; this only
//! makes sure that both read the same body out of the same bytes.

use super::field::{Field, is_tchar};
use super::refusal::Refusal;

/// 2^60 - 1: more digits than any size needs, and none of Pingora's sums can overflow.
const SIZE_DIGITS_MAX: u8 = 15;
/// Extensions of one chunk, in bytes.
const EXTENSION_BYTES_MAX: usize = 256;
/// Extensions of all chunks of a body, in bytes: they are work for us and mean nothing to anybody.
const EXTENSIONS_BYTES_MAX: usize = 16 * 1024;
/// The trailer section in bytes, and its fields.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
const TRAILER_FIELDS_MAX: usize = 32;

/// Fields that must not come after the body (RFC 9110, 6.5.1): they frame, route, authenticate or
/// change how the request is read, and by now that is decided.
const NO_TRAILERS: [&str; 24] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "max-forwards",
    "proxy-authorization",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Position in a chunked body.
#[derive(Debug, Default)]
pub struct ChunkedBody {
    state: State,
    extension_bytes: usize,
    extensions_bytes: usize,
    trailer_bytes: usize,
    trailer_fields: usize,
    /// The trailer line that is not whole yet.
    line: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Size { digits: u8, size: u64 },
    Extension { size: u64, at: Extension },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailer,
    TrailerLf,
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

/// `;name`, `;name=token` or `;name="text"`; white space is not allowed between them.
#[derive(Debug, Clone, Copy)]
enum Extension {
    NameStart,
    Name,
    ValueStart,
    Token,
    Quoted,
    Escaped,
    Closed,
}

const BAD_SIZE: Refusal =
    Refusal::Malformed("a chunk size is not a number in at most 15 hexadecimal digits");
const BAD_EXTENSION: Refusal =
    Refusal::Malformed("a chunk extension is not `;name` or `;name=value`, or too long");
const BAD_LINE_END: Refusal =
    Refusal::Malformed("a line of the chunked body does not end with CR LF");

impl ChunkedBody {
    /// Judge the next bytes: how many of them belong to the body.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            match self.state {
                State::Done => break,
                State::Data { left } => {
                    let here = bytes.len() - taken;
                    let now = usize::try_from(left).map_or(here, |left| left.min(here));
                    taken += now;
                    let left = left - now as u64;
                    self.state = match left {
                        0 => State::DataCr,
                        left => State::Data { left },
                    };
                }
                state => {
                    self.state = self.step(state, *byte)?;
                    taken += 1;
                }
            }
        }
        Ok(taken)
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn step(&mut self, state: State, byte: u8) -> Result<State, Refusal> {
        match (state, byte) {
            (State::Size { digits, size }, byte) => self.size(digits, size, byte),
            (State::Extension { size, at }, byte) => self.extension(size, at, byte),
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::Trailer),
            (State::SizeLf { size: left }, b'\n') => Ok(State::Data { left }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::default()),
            (State::Trailer, byte) => self.trailer(byte),
            (State::TrailerLf, b'\n') => self.trailer_line(),
            (State::DataCr, _) => Err(Refusal::Malformed("a chunk is longer than its size says")),
            _ => Err(BAD_LINE_END),
        }
    }

    fn size(&mut self, digits: u8, size: u64, byte: u8) -> Result<State, Refusal> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits == SIZE_DIGITS_MAX {
                return Err(BAD_SIZE);
            }
            let (digits, size) = (digits + 1, size << 4 | u64::from(digit));
            return Ok(State::Size { digits, size });
        }
        self.extension_bytes = 0;
        match byte {
            b'\r' if digits > 0 => Ok(State::SizeLf { size }),
            b';' if digits > 0 => Ok(State::Extension {
                size,
                at: Extension::NameStart,
            }),
            _ => Err(BAD_SIZE),
        }
    }

    fn extension(&mut self, size: u64, at: Extension, byte: u8) -> Result<State, Refusal> {
        self.extension_bytes += 1;
        self.extensions_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX
            || self.extensions_bytes > EXTENSIONS_BYTES_MAX
        {
            return Err(BAD_EXTENSION);
        }
        let at = match (at, byte) {
            (Extension::NameStart | Extension::Name, byte) if is_tchar(byte) => Extension::Name,
            (Extension::Name, b'=') => Extension::ValueStart,
            (Extension::ValueStart, b'"') => Extension::Quoted,
            (Extension::ValueStart | Extension::Token, byte) if is_tchar(byte) => Extension::Token,
            (Extension::Quoted, b'"') => Extension::Closed,
            (Extension::Quoted, b'\\') => Extension::Escaped,
            // RFC 9110, 5.6.4: text, and never a line end, quoted or not.
            (Extension::Quoted | Extension::Escaped, b'\t' | b' '..=b'~' | 0x80..) => {
                Extension::Quoted
            }
            (Extension::Name | Extension::Token | Extension::Closed, b';') => Extension::NameStart,
            (Extension::Name | Extension::Token | Extension::Closed, b'\r') => {
                return Ok(State::SizeLf { size });
            }
            _ => return Err(BAD_EXTENSION),
        };
        Ok(State::Extension { size, at })
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Refusal> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(Refusal::FieldsTooLarge);
        }
        match byte {
            b'\r' => Ok(State::TrailerLf),
            b'\n' => Err(BAD_LINE_END),
            byte => {
                self.line.push(byte);
                Ok(State::Trailer)
            }
        }
    }

    fn trailer_line(&mut self) -> Result<State, Refusal> {
        if self.line.is_empty() {
            return Ok(State::Done);
        }
        let field = Field::parse(&self.line)?;
        if NO_TRAILERS.iter().any(|name| field.is(name)) {
            return Err(Refusal::Malformed(
                "a field after the body that must be before it",
            ));
        }
        self.trailer_fields += 1;
        if self.trailer_fields > TRAILER_FIELDS_MAX {
            return Err(Refusal::FieldsTooLarge);
        }
        self.line.clear();
        Ok(State::Trailer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes of the body and whether it ended, fed in pieces of these sizes.
    fn read(bytes: &[u8], cuts: &[usize]) -> Result<(usize, bool), Refusal> {
        let mut body = ChunkedBody::default();
        let (mut taken, mut rest) = (0, bytes);
        let pieces = cuts.iter().copied().chain(std::iter::once(usize::MAX));
        for cut in pieces {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            let now = body.advance(piece)?;
            taken += now;
            if now < piece.len() {
                break;
            }
            rest = after;
        }
        Ok((taken, body.is_done()))
    }

    #[test]
    fn good_bodies() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "A\r\n0123456789\r\n00\r\n\r\n",
            "a;n\r\n0123456789\r\n0\r\n\r\n",
            "1;n=v;m=\"a; \\\"b\"\r\nx\r\n0;last\r\n\r\n",
            "0\r\nx-sum: 1\r\ny-sum: 2\r\n\r\n",
            "2\r\n\r\n\r\n0\r\n\r\n",
        ] {
            assert_eq!(
                read(body.as_bytes(), &[]),
                Ok((body.len(), true)),
                "{body:?}"
            );
            let followed = format!("{body}GET /");
            assert_eq!(
                read(followed.as_bytes(), &[]),
                Ok((body.len(), true)),
                "{body:?}"
            );
        }
    }

    #[test]
    fn bad_bodies() {
        let long_extension = format!("1;{}\r\nx\r\n", "n".repeat(300));
        let many_extensions = format!("1;{}\r\nx\r\n", "n".repeat(200)).repeat(100);
        let long_trailer = format!("0\r\nx: {}\r\n\r\n", "v".repeat(TRAILER_BYTES_MAX));
        let many_trailers = format!("0\r\n{}\r\n", "x: 1\r\n".repeat(40));
        for body in [
            "\r\n",
            "x\r\n",
            "+3\r\nabc\r\n",
            "-3\r\nabc\r\n",
            " 3\r\nabc\r\n",
            "3 \r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "3_0\r\nabc\r\n",
            "3\nabc\r\n",
            "3\r\nabc\n",
            "3\rXabc",
            "3\r\nabcd\r\n",
            "3\r\nab\r\n0\r\n\r\n",
            "1000000000000000\r\n",
            "0000000000000003\r\nabc\r\n",
            "3;\r\nabc\r\n",
            "3;=v\r\nabc\r\n",
            "3;n=\r\nabc\r\n",
            "3; n\r\nabc\r\n",
            "3;n = v\r\nabc\r\n",
            "3;n=\"v\r\nabc\r\n",
            "3;n=\"v\"x\r\nabc\r\n",
            "3;n\nabc\r\n",
            "3;n=\"\n\"\r\nabc\r\n",
            "0\r\nx: 1\n\r\n",
            "0\r\n x: 1\r\n\r\n",
            "0\r\nx : 1\r\n\r\n",
            "0\r\nx\r\n\r\n",
            "0\r\nContent-Length: 3\r\n\r\n",
            "0\r\nHost: other\r\n\r\n",
            "0\r\nx: \0\r\n\r\n",
            "0\r\n\rX",
            &long_extension,
            &many_extensions,
            &long_trailer,
            &many_trailers,
        ] {
            assert!(read(body.as_bytes(), &[]).is_err(), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_same(
            bytes in proptest::collection::vec(proptest::sample::select(b"01aF;=\"\\x: \r\n\r\n\r\n".to_vec()), 0..40),
            cuts in proptest::collection::vec(0_usize..6, 0..20),
        ) {
            prop_assert_eq!(read(&bytes, &cuts), read(&bytes, &[]));
        }

        #[test]
        fn what_is_framed_well_is_read_to_its_end(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            rest in proptest::collection::vec(any::<u8>(), 0..20),
            cuts in proptest::collection::vec(0_usize..30, 0..20),
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            let end = body.len();
            body.extend(rest);
            prop_assert_eq!(read(&body, &cuts), Ok((end, true)));
        }
    }
}
