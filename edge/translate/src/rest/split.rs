//! Cuts a request body into the JSON texts of its messages: lines, or the elements of an array.
//!
//! Only boundaries are looked for; each text is parsed strictly afterwards. Invariant: never holds
//! more than one text of the permitted length and one chunk of the body, and looks at each byte once.

use bytes::{Buf, Bytes, BytesMut};

/// What surrounds a line: a carriage return and a line feed, in bytes.
const LINE_END_BYTES: usize = 2;

/// How the texts follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One on each line; blank lines are nothing.
    Lines,
    /// One JSON document: an array has a text in each element, anything else is the only text.
    Document,
    /// One JSON document that is the only text, an array or not.
    Whole,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    TooLong,
    Malformed(&'static str),
}

#[derive(Debug)]
pub(super) struct Splitter {
    held: BytesMut,
    /// Bytes of `held` that are known to hold no boundary.
    scanned: usize,
    bytes_max: usize,
    state: State,
    /// Lines or elements begun so far.
    count: u64,
    is_last: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Lines,
    /// Nothing but whitespace so far.
    Start,
    Whole,
    Array {
        depth: usize,
        quoted: Quoted,
    },
    /// Behind the array, or the only text was given out.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoted {
    No,
    Yes,
    /// The next character is no boundary, whatever it is.
    Escaped,
}

const ELEMENT: State = State::Array {
    depth: 0,
    quoted: Quoted::No,
};

impl Splitter {
    /// `bytes_max` bounds each text.
    pub(super) fn new(form: Form, bytes_max: usize) -> Self {
        Self {
            held: BytesMut::new(),
            scanned: 0,
            bytes_max,
            state: match form {
                Form::Lines => State::Lines,
                Form::Document => State::Start,
                Form::Whole => State::Whole,
            },
            count: 0,
            is_last: false,
        }
    }

    /// The next piece of the body. Call [`Self::next`] until it has nothing before pushing more.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.held.extend_from_slice(chunk);
    }

    /// The body has ended.
    pub(super) fn end(&mut self) {
        self.is_last = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.is_last
    }

    /// Where the text given out last stands in the body, for people. `None` where it is all of it.
    pub(super) fn place(&self) -> Option<String> {
        match self.state {
            _ if self.count == 0 => None,
            State::Lines => Some(format!("line `{}`", self.count)),
            _ => Some(format!("message `{}`", self.count)),
        }
    }

    /// The next whole text.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let found = match self.state {
                State::Lines => self.line()?,
                State::Start => {
                    self.skip_whitespace();
                    match self.held.first() {
                        None => return Ok(None),
                        Some(b'[') => {
                            self.held.advance(1);
                            self.state = ELEMENT;
                        }
                        Some(_) => self.state = State::Whole,
                    }
                    continue;
                }
                State::Whole => self.whole()?,
                State::Array { depth, quoted } => self.element(depth, quoted)?,
                State::Over => {
                    self.skip_whitespace();
                    if self.held.is_empty() {
                        return Ok(None);
                    }
                    return Err(Fault::Malformed("something stands behind the array"));
                }
            };
            match found {
                // A blank line, or the end of an empty array.
                Some(text) if text.is_empty() => {}
                found => return Ok(found),
            }
        }
    }

    fn line(&mut self) -> Result<Option<Bytes>, Fault> {
        if self.scanned == 0 {
            // Blank lines count as lines, but nothing else is done for them.
            let blank = self.skip_whitespace();
            let lines = blank.iter().filter(|byte| **byte == b'\n').count();
            self.count += lines as u64;
        }
        let unseen = self.held.get(self.scanned..).unwrap_or_default();
        let end = unseen.iter().position(|byte| *byte == b'\n');
        let end = end.map(|at| self.scanned + at);
        self.scanned = self.held.len();
        let length = end.unwrap_or(self.held.len());
        if length > self.bytes_max.saturating_add(LINE_END_BYTES) {
            self.count += 1;
            return Err(Fault::TooLong);
        }
        let line = match end {
            Some(end) => self.held.split_to(end + 1),
            None if self.is_last && !self.held.is_empty() => self.held.split(),
            None => return Ok(None),
        };
        self.scanned = 0;
        self.count += 1;
        self.bounded(line.freeze()).map(Some)
    }

    fn whole(&mut self) -> Result<Option<Bytes>, Fault> {
        if self.held.len() > self.bytes_max {
            return Err(Fault::TooLong);
        }
        if !self.is_last {
            return Ok(None);
        }
        self.state = State::Over;
        let text = self.held.split().freeze();
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// To the comma or the bracket that is not within the element.
    fn element(&mut self, mut depth: usize, mut quoted: Quoted) -> Result<Option<Bytes>, Fault> {
        if self.scanned == 0 {
            self.skip_whitespace();
        }
        let mut found = None;
        for (at, byte) in self.held.iter().enumerate().skip(self.scanned) {
            (quoted, depth) = match (quoted, byte) {
                (Quoted::Escaped, _) | (Quoted::No, b'"') => (Quoted::Yes, depth),
                (Quoted::Yes, b'\\') => (Quoted::Escaped, depth),
                (Quoted::Yes, b'"') => (Quoted::No, depth),
                (Quoted::No, b'{' | b'[') => (Quoted::No, depth + 1),
                (Quoted::No, b',' | b']') if depth == 0 => {
                    found = Some((at, *byte));
                    break;
                }
                (Quoted::No, b'}' | b']') => (Quoted::No, depth.saturating_sub(1)),
                _ => (quoted, depth),
            };
        }
        let Some((at, boundary)) = found else {
            self.scanned = self.held.len();
            self.state = State::Array { depth, quoted };
            return self.unfinished();
        };
        let text = self.held.split_to(at).freeze();
        self.held.advance(1);
        self.scanned = 0;
        let is_end = boundary == b']';
        self.state = if is_end { State::Over } else { ELEMENT };
        let is_empty_array = is_end && self.count == 0 && text.trim_ascii().is_empty();
        if is_empty_array {
            return Ok(Some(Bytes::new()));
        }
        self.count += 1;
        let text = self.bounded(text)?;
        if text.is_empty() {
            return Err(Fault::Malformed("an element of the array is missing"));
        }
        Ok(Some(text))
    }

    fn unfinished(&mut self) -> Result<Option<Bytes>, Fault> {
        if self.held.len() > self.bytes_max {
            self.count += 1;
            return Err(Fault::TooLong);
        }
        if self.is_last {
            self.count += 1;
            return Err(Fault::Malformed("the array does not end"));
        }
        Ok(None)
    }

    fn bounded(&self, text: Bytes) -> Result<Bytes, Fault> {
        let text = text.slice_ref(text.trim_ascii());
        if text.len() > self.bytes_max {
            return Err(Fault::TooLong);
        }
        Ok(text)
    }

    fn skip_whitespace(&mut self) -> BytesMut {
        let blank = self.held.len() - self.held.trim_ascii_start().len();
        self.held.split_to(blank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(form: Form, body: &[u8], cut: usize, bytes_max: usize) -> Result<Vec<String>, Fault> {
        let mut splitter = Splitter::new(form, bytes_max);
        let mut texts = Vec::new();
        let mut take = |splitter: &mut Splitter| {
            while let Some(text) = splitter.next()? {
                texts.push(String::from_utf8_lossy(&text).into_owned());
            }
            Ok(())
        };
        for chunk in body.chunks(cut) {
            splitter.push(chunk);
            take(&mut splitter)?;
        }
        splitter.end();
        take(&mut splitter)?;
        Ok(texts)
    }

    #[test]
    fn bodies_and_their_texts() {
        let missing = Fault::Malformed("an element of the array is missing");
        let behind = Fault::Malformed("something stands behind the array");
        for (form, body, expected) in [
            (Form::Lines, "", Ok(vec![])),
            (
                Form::Lines,
                "{}\n\r\n \n[1]\r\n2",
                Ok(vec!["{}", "[1]", "2"]),
            ),
            (Form::Document, " \n ", Ok(vec![])),
            (
                Form::Document,
                " {\"a\":[1,2]} ",
                Ok(vec!["{\"a\":[1,2]} "]),
            ),
            (Form::Document, " [ ] ", Ok(vec![])),
            (
                Form::Document,
                r#" [{"a":"],[\"\\"} , [1,2],"x" ,3 ] "#,
                Ok(vec![r#"{"a":"],[\"\\"}"#, "[1,2]", "\"x\"", "3"]),
            ),
            (Form::Document, "[1,]", Err(missing)),
            (
                Form::Document,
                "[,1]",
                Err(Fault::Malformed("an element of the array is missing")),
            ),
            (Form::Document, "[1] 2", Err(behind)),
            (
                Form::Document,
                "[1",
                Err(Fault::Malformed("the array does not end")),
            ),
            (
                Form::Document,
                "[\"0123456789abcdef\"]",
                Err(Fault::TooLong),
            ),
            (Form::Lines, "1\n0123456789abcdefgh\n", Err(Fault::TooLong)),
            (Form::Whole, "[1,2]", Ok(vec!["[1,2]"])),
            (Form::Whole, "[1,2]            ", Err(Fault::TooLong)),
        ] {
            for cut in 1..=body.len().max(1) {
                let seen = split(form, body.as_bytes(), cut, 16);
                let seen = seen
                    .as_ref()
                    .map(|texts| texts.iter().map(|s| &**s).collect());
                assert_eq!(seen, expected.as_ref().cloned(), "{body} by {cut}");
            }
        }
    }

    #[test]
    fn whitespace_is_not_held() {
        for form in [Form::Lines, Form::Document] {
            let mut splitter = Splitter::new(form, 16);
            splitter.push(b"[");
            for _ in 0..1_000 {
                splitter.push(if form == Form::Lines {
                    b"\n\n\n\n"
                } else {
                    b" \n\t "
                });
                let _ = splitter.next().unwrap();
                assert!(splitter.held.len() <= 16);
            }
        }
    }

    proptest! {
        #[test]
        fn elements_are_those_of_the_parser(
            values in prop::collection::vec("[a-z\\[\\]{},\"\\\\ ]{0,12}", 0..8),
            cut in 1_usize..40,
        ) {
            let body = serde_json::to_vec(&values).unwrap();
            let texts = split(Form::Document, &body, cut, 1_000).unwrap();
            let parsed: Vec<String> =
                texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(parsed, values);
        }
    }
}
