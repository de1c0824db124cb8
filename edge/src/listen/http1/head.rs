//! The head of an HTTP/1.1 request, judged byte by byte (RFC 9112, 2 to 6).
//!
//! Pure: bytes in, framing or refusal out. What servers read differently is refused, so that what
//! passes has one meaning for us, for Pingora and for every upstream. Each line is judged once,
//! when it is whole, and the verdict does not depend on how the bytes were cut.

use std::ops::Range;

use memchr::memchr2;

use super::field::{Field, is_tchar};
use super::refusal::Refusal;
use super::start_line::{NO_METHOD, START_LINE_BYTES_MAX, StartLine, is_authority};

/// A whole head, start line and line ends included.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields of one head: many small ones cost more memory than their bytes show.
const FIELDS_MAX: usize = 100;
/// 10^18 bytes; one more digit would not fit Pingora's signed numbers.
const LENGTH_DIGITS_MAX: usize = 18;

/// How the end of the body is found (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Empty,
    /// Bytes.
    Length(u64),
    Chunked,
}

/// What a good head says about the bytes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    pub body: Body,
    /// The client asks for WebSocket after this request, the one protocol that is passed on.
    pub upgrade: bool,
}

/// A whole head in the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Without the empty line that may come before it, with the one that ends it.
    pub range: Range<usize>,
    pub framing: Framing,
}

/// Judges a head that comes in pieces.
#[derive(Debug, Default)]
pub struct HeadReader {
    /// Where the line that is not whole yet begins.
    line: usize,
    /// No line ends before this.
    searched: usize,
    begin: usize,
    start: Option<StartLine>,
    fields: usize,
    host: Option<Range<usize>>,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

/// A whole head at once: `None` where it does not end. For tests and fuzzing.
pub fn check(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    HeadReader::default().advance(bytes)
}

impl HeadReader {
    /// Judge the lines that became whole. `buffer` is the same as before, but longer.
    pub fn advance(&mut self, buffer: &[u8]) -> Result<Option<Head>, Refusal> {
        loop {
            self.begins_well(buffer)?;
            let rest = buffer.get(self.searched..).unwrap_or(&[]);
            let Some(found) = memchr2(b'\r', b'\n', rest) else {
                self.searched = buffer.len();
                return self.in_bounds(buffer.len()).map(|()| None);
            };
            let end = self.searched + found;
            self.in_bounds(end)?;
            match buffer.get(end..end + 2) {
                Some(b"\r\n") => {}
                None if buffer.get(end) == Some(&b'\r') => {
                    self.searched = end;
                    return Ok(None);
                }
                // RFC 9112, 2.2 allows a bare LF and forbids a bare CR; servers differ on both.
                _ => {
                    return Err(Refusal::Malformed(
                        "a line of the request head does not end with CR LF",
                    ));
                }
            }
            let line = self.line..end;
            self.line = end + 2;
            self.searched = self.line;
            if !line.is_empty() {
                self.take_line(buffer, line)?;
            } else if self.start.is_some() {
                let framing = self.framing(buffer)?;
                let range = self.begin..self.line;
                return Ok(Some(Head { range, framing }));
            } else if self.begin == 0 {
                // RFC 9112, 2.2: one empty line is what old clients send after a body.
                self.begin = self.line;
            } else {
                return Err(Refusal::Malformed(
                    "more than one empty line before the request line",
                ));
            }
        }
    }

    /// Whether a line may end at `end`.
    fn in_bounds(&self, end: usize) -> Result<(), Refusal> {
        if self.start.is_none() && end - self.line > START_LINE_BYTES_MAX {
            return Err(Refusal::TargetTooLong);
        }
        if end > HEAD_BYTES_MAX {
            return Err(Refusal::FieldsTooLarge);
        }
        Ok(())
    }

    /// What is no HTTP at all, such as TLS on a plain port, need not wait for the deadline.
    fn begins_well(&self, buffer: &[u8]) -> Result<(), Refusal> {
        let first = buffer.get(self.line).filter(|_| self.start.is_none());
        match first {
            Some(first) if !is_tchar(*first) && *first != b'\r' => Err(NO_METHOD),
            _ => Ok(()),
        }
    }

    fn take_line(&mut self, buffer: &[u8], range: Range<usize>) -> Result<(), Refusal> {
        let offset = range.start;
        let line = buffer.get(range).unwrap_or(&[]);
        if self.start.is_none() {
            self.start = Some(StartLine::parse(line, offset)?);
            return Ok(());
        }
        let field = Field::parse(line)?;
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return Err(Refusal::FieldsTooLarge);
        }
        // Most names are of another length than those that matter here.
        match field.name.len() {
            4 if field.is("host") => self.take_host(&field, offset),
            14 if field.is("content-length") => self.take_length(field.value),
            17 if field.is("transfer-encoding") => self.take_coding(field.value),
            7 if field.is("upgrade") => {
                self.upgrade |= field.value.eq_ignore_ascii_case(b"websocket");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_host(&mut self, field: &Field<'_>, offset: usize) -> Result<(), Refusal> {
        if self.host.is_some() {
            return Err(Refusal::Malformed("Host appears twice"));
        }
        if !is_authority(field.value) {
            return Err(Refusal::Malformed("Host is not a host name with a port"));
        }
        let begin = offset + field.value_at;
        self.host = Some(begin..begin + field.value.len());
        Ok(())
    }

    /// RFC 9110, 8.6: digits, once. A repeated or listed length may be read as either.
    fn take_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::Malformed("Content-Length appears twice"));
        }
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        if !digits || value.len() > LENGTH_DIGITS_MAX {
            return Err(Refusal::Malformed(
                "Content-Length is not a number in at most 18 decimal digits",
            ));
        }
        let add = |total: u64, digit: &u8| total * 10 + u64::from(digit - b'0');
        self.length = Some(value.iter().fold(0, add));
        Ok(())
    }

    /// RFC 9112, 6.1: `chunked` is the only coding there is, and must be the last one.
    fn take_coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(Refusal::Malformed("Transfer-Encoding appears twice"));
        }
        self.chunked = true;
        if value.eq_ignore_ascii_case(b"chunked") {
            return Ok(());
        }
        let is_chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
        let mut codings = value.rsplit(|byte| *byte == b',');
        let last = codings.next().is_some_and(is_chunked);
        let mut others = codings.map(<[u8]>::trim_ascii).peekable();
        let known_shape = others.peek().is_some()
            && others.all(|coding| {
                !coding.is_empty() && !is_chunked(coding) && coding.iter().all(|b| is_tchar(*b))
            });
        if last && known_shape {
            return Err(Refusal::NotImplemented(
                "the only transfer coding known here is chunked",
            ));
        }
        Err(Refusal::Malformed(
            "Transfer-Encoding does not end with one chunked",
        ))
    }

    /// What only the whole head can tell.
    fn framing(&self, buffer: &[u8]) -> Result<Framing, Refusal> {
        let Some(start) = &self.start else {
            return Err(NO_METHOD);
        };
        let host = self.host.clone().and_then(|range| buffer.get(range));
        let authority = start.authority.clone().map(|range| buffer.get(range));
        // RFC 9112, 3.2: a request of HTTP/1.1 names its host, one of HTTP/1.0 may.
        if host.is_none() && (!start.is_http10 || authority.is_some()) {
            return Err(Refusal::Malformed("Host is missing"));
        }
        // RFC 9112, 3.2.2 lets the target win; an upstream may let Host win.
        if authority.is_some_and(|authority| authority != host) {
            return Err(Refusal::Malformed(
                "Host differs from the authority of the request target",
            ));
        }
        if self.chunked && self.length.is_some() {
            return Err(Refusal::Malformed(
                "Content-Length and Transfer-Encoding exclude each other",
            ));
        }
        // RFC 9112, 6.1: faulty framing, whatever it says.
        if self.chunked && start.is_http10 {
            return Err(Refusal::Malformed("HTTP/1.0 has no Transfer-Encoding"));
        }
        let body = match (self.chunked, self.length) {
            (true, _) => Body::Chunked,
            (false, None | Some(0)) => Body::Empty,
            (false, Some(length)) => Body::Length(length),
        };
        // RFC 9110, 7.8: ignored in HTTP/1.0.
        let upgrade = self.upgrade && !start.is_http10;
        // RFC 6455, 4.1. Where its body ends and the other protocol begins would be a guess.
        if upgrade && body != Body::Empty {
            return Err(Refusal::Malformed("a WebSocket handshake has a body"));
        }
        Ok(Framing { body, upgrade })
    }
}

#[cfg(test)]
mod tests;
