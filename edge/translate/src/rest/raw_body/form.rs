//! `multipart/form-data` (RFC 7578), cut into parts as its bytes come.
//!
//! Invariant: holds one chunk, and of a part's head what is permitted; file data is passed on, never
//! kept. Strict about boundaries (RFC 2046 section 5.1.1): two readers that disagree about where a
//! part ends disagree about what was uploaded.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;

/// Longest boundary, in bytes (RFC 2046 section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;
/// What may stand before the first boundary, in bytes; nobody writes anything there.
const PREAMBLE_BYTES_MAX: usize = 1024;
/// The head of one part, in bytes.
const HEAD_BYTES_MAX: usize = 4 * 1024;
const HEADERS_MAX: usize = 16;
/// Name of a field, in bytes.
const NAME_BYTES_MAX: usize = 256;
const PARTS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    #[error("the form has no valid `boundary`")]
    Boundary,
    #[error("more than `{PREAMBLE_BYTES_MAX}` bytes before the first boundary")]
    Preamble,
    #[error("a boundary is followed by something else than a line end or `--`")]
    AfterBoundary,
    #[error("the head of a part is longer than `{HEAD_BYTES_MAX}` bytes")]
    LongHead,
    #[error("the head of a part cannot be read")]
    Head,
    #[error("a part has no `content-disposition: form-data` with a `name`")]
    Disposition,
    #[error("the name of a part is longer than `{NAME_BYTES_MAX}` bytes")]
    LongName,
    #[error("a part has a `content-transfer-encoding`, which RFC 7578 does away with")]
    Encoding,
    #[error("more than `{PARTS_MAX}` parts")]
    TooManyParts,
    #[error("the form ends before its last boundary")]
    Incomplete,
}

/// The head of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) has_filename: bool,
    pub(super) content_type: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Part(Part),
    /// More of the last part.
    Data(Bytes),
}

#[derive(Debug)]
pub(super) struct Form {
    held: BytesMut,
    /// With the line end before it, which belongs to it.
    delimiter: Vec<u8>,
    state: State,
    parts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Preamble,
    AfterBoundary,
    Head,
    Data,
    Ended,
}

impl Form {
    /// Of a request with this `content-type`; `None` where it is something else than a form.
    pub(super) fn of(content_type: &str) -> Option<Result<Self, FormError>> {
        let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameter(parameters, "boundary");
        let is_valid = |text: &String| {
            (1..=BOUNDARY_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|b| matches!(b, b' '..=b'~'))
        };
        let Some(boundary) = boundary.filter(is_valid) else {
            return Some(Err(FormError::Boundary));
        };
        Some(Ok(Self {
            // The first boundary may stand at the very beginning, with no line end before it.
            held: BytesMut::from(b"\r\n".as_slice()),
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            state: State::Preamble,
            parts: 0,
        }))
    }

    /// The next piece of the body. Call [`Self::next`] until it has nothing before pushing more.
    pub(super) fn push(&mut self, chunk: Bytes) {
        if self.state == State::Ended {
            return;
        }
        if self.held.is_empty() {
            self.held = BytesMut::from(chunk);
        } else {
            self.held.extend_from_slice(&chunk);
        }
    }

    /// What comes next; `None` where more of the body is needed. What follows the last boundary
    /// is no part of the form.
    pub(super) fn next(&mut self) -> Result<Option<Event>, FormError> {
        loop {
            match self.state {
                State::Preamble => {
                    let Some(at) = memmem::find(&self.held, &self.delimiter) else {
                        return match self.held.len() > PREAMBLE_BYTES_MAX {
                            true => Err(FormError::Preamble),
                            false => Ok(None),
                        };
                    };
                    self.held.advance(at + self.delimiter.len());
                    self.state = State::AfterBoundary;
                }
                State::AfterBoundary => {
                    let Some((next, _)) = self.held.split_first_chunk::<2>() else {
                        return Ok(None);
                    };
                    match next {
                        b"--" => {
                            self.state = State::Ended;
                            self.held = BytesMut::new();
                            return Ok(None);
                        }
                        b"\r\n" => self.state = State::Head,
                        _ => return Err(FormError::AfterBoundary),
                    }
                    self.held.advance(2);
                }
                State::Head => return self.head(),
                State::Data => {
                    if let Some(data) = self.data() {
                        return Ok(Some(Event::Data(data)));
                    }
                    if self.state == State::Data {
                        return Ok(None);
                    }
                }
                State::Ended => return Ok(None),
            }
        }
    }

    fn head(&mut self) -> Result<Option<Event>, FormError> {
        const END: &[u8] = b"\r\n\r\n";
        if self.held.starts_with(b"\r\n") {
            return Err(FormError::Disposition);
        }
        let end = memmem::find(&self.held, END).map(|at| at + END.len());
        if end.unwrap_or(self.held.len()) > HEAD_BYTES_MAX {
            return Err(FormError::LongHead);
        }
        let Some(end) = end else {
            return Ok(None);
        };
        if self.parts == PARTS_MAX {
            return Err(FormError::TooManyParts);
        }
        let part = part(&self.held.split_to(end))?;
        self.parts += 1;
        self.state = State::Data;
        Ok(Some(Event::Part(part)))
    }

    /// Data of a part up to where a boundary may begin.
    fn data(&mut self) -> Option<Bytes> {
        let data = match memmem::find(&self.held, &self.delimiter) {
            Some(at) => {
                let data = self.held.split_to(at);
                self.held.advance(self.delimiter.len());
                self.state = State::AfterBoundary;
                data
            }
            None => {
                let sure = self.held.len().saturating_sub(self.delimiter.len() - 1);
                self.held.split_to(sure)
            }
        };
        (!data.is_empty()).then(|| data.freeze())
    }

    /// Whether the body may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Ended
    }
}

fn part(head: &[u8]) -> Result<Part, FormError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let parsed = httparse::parse_headers(head, &mut headers).map_err(|_| FormError::Head)?;
    let httparse::Status::Complete((_, headers)) = parsed else {
        return Err(FormError::Head);
    };
    let mut disposition = None;
    let mut content_type = None;
    for header in headers {
        let value = std::str::from_utf8(header.value).map_err(|_| FormError::Head)?;
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-disposition") {
            if disposition.replace(value).is_some() {
                return Err(FormError::Head);
            }
        } else if is("content-type") {
            if content_type.replace(value.to_owned()).is_some() {
                return Err(FormError::Head);
            }
        } else if is("content-transfer-encoding") {
            let value = value.trim();
            if !["7bit", "8bit", "binary"]
                .iter()
                .any(|plain| value.eq_ignore_ascii_case(plain))
            {
                return Err(FormError::Encoding);
            }
        }
    }
    let (kind, parameters) = disposition
        .and_then(|value| value.split_once(';'))
        .ok_or(FormError::Disposition)?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(FormError::Disposition);
    }
    let name = parameter(parameters, "name").ok_or(FormError::Disposition)?;
    if name.len() > NAME_BYTES_MAX {
        return Err(FormError::LongName);
    }
    Ok(Part {
        name,
        has_filename: parameter(parameters, "filename").is_some(),
        content_type,
    })
}

/// The value of `name=value` or `name="value"` in a list that `;` separates; `None` too where it
/// is malformed or given twice.
fn parameter(list: &str, name: &str) -> Option<String> {
    let mut found = None;
    let mut rest = list.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                let (value, after) = after.split_at(end);
                (value.trim().to_owned(), after)
            }
        };
        if key.trim().eq_ignore_ascii_case(name) && found.replace(value).is_some() {
            return None;
        }
        let after = after.trim_start();
        rest = match after.strip_prefix(';') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    found
}

/// A quoted string behind its first quote (RFC 9110 section 5.6.4), and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests;
