//! A stream of bytes as batches of whole lines: what one worker takes at a time.
//!
//! Invariant: however long a line is, no more of it is held than says that it is too long.

use std::io::{self, Read};

/// Some hundred lines: enough that handing them over costs nothing.
const BATCH_BYTES: usize = 256 * 1024;
/// Longest line; a request target has 8 KiB at most, and the rest of a line much less.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// Whole lines; only the last of a stream may have no end.
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Of the first line, counted from 1.
    number: u64,
}

impl Batch {
    /// Numbers and lines; one that is too long is cut one byte after the bound. Empty ones are left out.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let lines = self.bytes.split(|byte| *byte == b'\n');
        (self.number..)
            .zip(lines)
            .filter(|(_, line)| !line.trim_ascii().is_empty())
    }
}

/// Reads until the end or the first fault.
pub(super) struct Batches<R> {
    log: R,
    /// The beginning of a line whose end was not read yet.
    rest: Vec<u8>,
    /// Of the next line.
    number: u64,
    /// Within a line that was too long.
    skipping: bool,
    ended: bool,
}

impl<R: Read> Batches<R> {
    pub(super) fn new(log: R) -> Self {
        Self {
            log,
            rest: Vec::new(),
            number: 1,
            skipping: false,
            ended: false,
        }
    }

    fn read(&mut self) -> io::Result<Option<Batch>> {
        while !self.ended {
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.reserve_exact(BATCH_BYTES.saturating_sub(bytes.len()));
            let room = BATCH_BYTES.saturating_sub(bytes.len());
            let read = self
                .log
                .by_ref()
                .take(u64::try_from(room).unwrap_or(u64::MAX))
                .read_to_end(&mut bytes)?;
            self.ended = read < room;
            if self.skipping {
                let Some(end) = memchr::memchr(b'\n', &bytes) else {
                    continue;
                };
                bytes.drain(..=end);
                self.skipping = false;
            }
            if let Some(batch) = self.whole_lines(bytes) {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    fn whole_lines(&mut self, mut bytes: Vec<u8>) -> Option<Batch> {
        if !self.ended {
            match memchr::memrchr(b'\n', &bytes) {
                Some(end) => self.rest = bytes.split_off(end + 1),
                None if bytes.len() > LINE_BYTES_MAX => {
                    bytes.truncate(LINE_BYTES_MAX + 1);
                    bytes.push(b'\n');
                    self.skipping = true;
                }
                None => {
                    self.rest = bytes;
                    return None;
                }
            }
        }
        if bytes.is_empty() {
            return None;
        }
        let number = self.number;
        let lines = memchr::memchr_iter(b'\n', &bytes).count();
        self.number += u64::try_from(lines).unwrap_or(0);
        Some(Batch { bytes, number })
    }
}

impl<R: Read> Iterator for Batches<R> {
    type Item = io::Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.read();
        self.ended |= batch.is_err();
        batch.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(log: &str, expected: &[(u64, usize)]) {
        let mut lines = Vec::new();
        for batch in Batches::new(log.as_bytes()) {
            let batch = batch.unwrap();
            assert!(batch.bytes.len() <= BATCH_BYTES);
            lines.extend(batch.lines().map(|(number, line)| (number, line.len())));
        }
        assert_eq!(lines, expected);
    }

    #[test]
    fn lines_have_numbers() {
        check("", &[]);
        check("a\nbb\nccc\n", &[(1, 1), (2, 2), (3, 3)]);
        check("a\nbb", &[(1, 1), (2, 2)]);
        check("\n\na\n \nb", &[(3, 1), (5, 1)]);
    }

    #[test]
    fn lines_over_the_edge_of_a_batch_stay_whole() {
        let line = "x".repeat(1_000);
        let log = format!("{line}\n").repeat(1_000);
        let expected: Vec<(u64, usize)> = (1..=1_000).map(|number| (number, 1_000)).collect();
        check(&log, &expected);
        check(&format!("{log}end"), &[expected, vec![(1_001, 3)]].concat());
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_found() {
        let cut = LINE_BYTES_MAX + 1;
        for length in [BATCH_BYTES, BATCH_BYTES + 1, 3 * BATCH_BYTES] {
            let long = "y".repeat(length);
            check(&format!("a\n{long}\nb\n"), &[(1, 1), (2, cut), (3, 1)]);
            check(&format!("{long}\nb"), &[(1, cut), (2, 1)]);
        }
        // Within one batch it is the reader of the line who sees how long it is.
        let long = "z".repeat(cut + 5);
        check(&format!("a\n{long}\nb\n"), &[(1, 1), (2, cut + 5), (3, 1)]);
    }
}
