//! Faults, collected while files are read and compiled.
//!
//! Invariant: one fault is told once, with its place; that there was an error is never forgotten.
//! Refuses to keep more than so many, and to show endless lines or their control characters.

use std::collections::BTreeMap;

use crate::codes;
use crate::diagnostic::{Diagnostic, Diagnostics, Fault, Mark, Severity, lines_of};
use crate::files::SourceFile;

/// Faults kept: a file of garbage must not fill memory with complaints about it.
const COLLECTED_MAX: usize = 1_000;
/// Characters of a source line that are shown.
const SHOWN_LINE_CHARS: usize = 120;

/// Collects faults while files are read and compiled.
#[derive(Debug, Default)]
pub struct Report {
    faults: Vec<(Mark, Fault)>,
    /// Places whose value came from the environment: the value and what is written. None where
    /// there was no value, which says all that is to be said about the place.
    environment: BTreeMap<Mark, Option<(String, String)>>,
    /// An error was one too many; that there is one must not be forgotten.
    dropped_error: bool,
}

impl Report {
    pub fn push(&mut self, mark: Mark, mut fault: Fault) {
        match self.environment.get(&mark) {
            Some(Some((value, written))) => fault.show_written(value, written),
            Some(None) => return,
            None => {}
        }
        // What routes inherit is looked at for each of them.
        let is_same = |(at, other): &(Mark, Fault)| {
            *at == mark
                && other.code == fault.code
                && (other.message == fault.message || fault.code == codes::UNKNOWN_NAME)
        };
        if self.faults.iter().any(is_same) {
            return;
        }
        if self.faults.len() < COLLECTED_MAX {
            self.faults.push((mark, fault));
        } else {
            self.dropped_error |= fault.severity == Severity::Error;
        }
    }

    /// Faults at a place show what is written there instead of what it stands for.
    pub fn conceal(&mut self, mark: Mark, value: &str, written: &str) {
        self.environment
            .insert(mark, Some((value.to_owned(), written.to_owned())));
    }

    /// No more faults at a place.
    pub fn silence(&mut self, mark: Mark) {
        self.environment.insert(mark, None);
    }

    /// Every error with its place; none where there were too many to keep.
    pub fn errors(&self) -> Option<impl Iterator<Item = &(Mark, Fault)>> {
        let is_error = |(_, fault): &&(Mark, Fault)| fault.severity == Severity::Error;
        (!self.dropped_error).then(|| self.faults.iter().filter(is_error))
    }

    /// Leave out the faults that another policy is made without.
    pub fn excuse(&mut self, is_excused: impl Fn(Mark, &Fault) -> bool) {
        self.faults
            .retain(|(mark, fault)| !is_excused(*mark, fault));
    }

    /// How many faults there are by now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.faults.len()
    }

    pub fn has_errors(&self) -> bool {
        let mut faults = self.faults.iter();
        self.dropped_error || faults.any(|(_, fault)| fault.severity == Severity::Error)
    }

    /// `value`, or its fault reported at `mark`.
    pub fn check<V>(&mut self, mark: Mark, value: Result<V, Fault>) -> Option<V> {
        match value {
            Ok(value) => Some(value),
            Err(fault) => {
                self.push(mark, fault);
                None
            }
        }
    }

    /// Sort, and show each place.
    pub fn finish(mut self, sources: &[SourceFile]) -> Diagnostics {
        self.faults
            .sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.message.cmp(&y.message)));
        // Sorted by file: the lines of each are looked for once.
        let mut lines: (u32, Vec<&str>) = (u32::MAX, Vec::new());
        let shown = self.faults.into_iter().map(|(mark, fault)| {
            let source = sources.get(mark.file as usize);
            if mark.file != lines.0 {
                lines = (
                    mark.file,
                    source.map_or_else(Vec::new, |source| lines_of(&source.text).collect()),
                );
            }
            let line = (mark.line as usize)
                .checked_sub(1)
                .and_then(|line| lines.1.get(line).copied());
            let line = line.filter(|_| !fault.is_concealed);
            let (source_line, source_line_cut) = cut(line.unwrap_or(""), mark.column);
            Diagnostic {
                severity: fault.severity,
                file: source.map_or_else(|| ".".to_owned(), |s| s.name.to_string()),
                line: mark.line,
                column: mark.column,
                length: mark.length,
                message: fault.message,
                source_line,
                source_line_cut,
                hint: fault.hint,
                code: fault.code,
            }
        });
        Diagnostics(shown.collect())
    }
}

/// The part of a line around a column, and how many characters were left out before it.
fn cut(line: &str, column: u32) -> (String, u32) {
    let before = (SHOWN_LINE_CHARS / 2) as u32;
    let skip = if line.chars().nth(SHOWN_LINE_CHARS).is_none() {
        0
    } else {
        column.saturating_sub(before)
    };
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let part = line
        .chars()
        .skip(skip as usize)
        .take(SHOWN_LINE_CHARS)
        .map(visible)
        .collect();
    (part, skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_around_the_fault() {
        let line = format!("{}here{}", "a".repeat(5_000), "b".repeat(5_000));
        let (text, skipped) = cut(&line, 5_001);
        assert_eq!(text.chars().count(), SHOWN_LINE_CHARS);
        let at = 5_000 - skipped as usize;
        assert_eq!(text.get(at..at + 4), Some("here"));
    }

    #[test]
    fn control_characters_of_a_line_are_not_shown() {
        assert_eq!(cut("a\u{1b}[31m", 1).0, "a [31m");
    }
}
