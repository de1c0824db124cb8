//! What is wrong with the policy files, where, and what to do about it.
//!
//! Invariant: faults are printed with their place and, unless it may hold a credential, their line.
//! Refuses to print terminal control characters or endless values: a policy may come from
//! anywhere, and its text ends up in terminals and logs.

use std::fmt;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::codes;

/// More faults than a person reads at once; the rest is counted.
const PRINTED_MAX: usize = 100;
/// Characters of an offending value that are shown.
const SHOWN_VALUE_CHARS: usize = 80;

/// Everything that is wrong with a folder, sorted by file and position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostics(pub Vec<Diagnostic>);

/// Whether a policy with the fault may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    /// It does what it says, which is hardly what was meant.
    Warning,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Relative to the policies folder; `.` is the folder itself.
    pub file: String,
    /// 1-based; 0 where the fault is about the file as a whole.
    pub line: u32,
    /// 1-based, in characters; 0 with line 0.
    pub column: u32,
    /// Characters from `column` that the fault is about.
    pub length: u32,
    pub message: String,
    /// The line as written, cut around the fault; empty with line 0, and where it may hold a credential.
    pub source_line: String,
    /// Characters cut from the front of `source_line`.
    pub source_line_cut: u32,
    pub hint: Option<String>,
    /// Stable id, explained in the language reference.
    pub code: &'static str,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &Styles::default())
    }
}

impl Diagnostics {
    /// With the colours of a terminal.
    pub fn colored(&self) -> impl fmt::Display {
        fmt::from_fn(|f| self.write(f, &Styles::TERMINAL))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, styles: &Styles) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().take(PRINTED_MAX).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            diagnostic.write(f, styles)?;
        }
        match self.0.len().checked_sub(PRINTED_MAX) {
            Some(more) if more > 0 => write!(f, "\nand {more} more"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &Styles::default())
    }
}

impl Diagnostic {
    fn write(&self, f: &mut fmt::Formatter<'_>, styles: &Styles) -> fmt::Result {
        let Self {
            severity,
            file,
            line,
            column,
            message,
            code,
            ..
        } = self;
        let place = styles.place;
        if *line == 0 {
            write!(f, "{place}{file}:{place:#} ")?;
        } else {
            write!(f, "{place}{file}:{line}:{column}:{place:#} ")?;
        }
        let mark = match severity {
            Severity::Error => styles.error,
            Severity::Warning => {
                write!(f, "{0}warning:{0:#} ", styles.warning)?;
                styles.warning
            }
        };
        write!(f, "{message} {mark}[{code}]{mark:#}")?;
        if !self.source_line.is_empty() {
            let indent = column.saturating_sub(1 + self.source_line_cut) as usize;
            let room = self
                .source_line
                .chars()
                .count()
                .saturating_sub(indent)
                .max(1);
            let carets = (self.length.max(1) as usize).min(room);
            write!(
                f,
                "\n  | {}\n  | {}{mark}{}{mark:#}",
                self.source_line,
                " ".repeat(indent),
                "^".repeat(carets)
            )?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  {0}hint:{0:#} {hint}", styles.hint),
            None => Ok(()),
        }
    }
}

/// How the parts of a message look; plain by default.
#[derive(Default)]
struct Styles {
    place: Style,
    error: Style,
    warning: Style,
    hint: Style,
}

impl Styles {
    const TERMINAL: Self = Self {
        place: Style::new().bold(),
        error: AnsiColor::Red.on_default().bold(),
        warning: AnsiColor::Yellow.on_default().bold(),
        hint: AnsiColor::Cyan.on_default(),
    };
}

/// A place in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Position in the list of source files.
    pub file: u32,
    pub line: u32,
    pub column: u32,
    pub length: u32,
}

impl Mark {
    /// The file as a whole.
    pub fn of_file(file: u32) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }
}

/// A fault before its line is looked up.
#[derive(Debug, Clone)]
pub struct Fault {
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
    pub severity: Severity,
    /// Another place that it takes to be at fault: of two that say the same, the first.
    pub other: Option<Mark>,
    /// Kind and name of what is referred to and not there.
    pub wanted: Option<Box<(&'static str, String)>>,
    /// The line may hold a credential: it is not shown.
    pub(crate) is_concealed: bool,
}

impl Fault {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            severity: Severity::Error,
            other: None,
            wanted: None,
            is_concealed: false,
        }
    }

    /// A lint: reported, and the policy is used.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::new(code, message)
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn other(mut self, place: Mark) -> Self {
        self.other = Some(place);
        self
    }

    pub fn wanted(mut self, kind: &'static str, name: &str) -> Self {
        self.wanted = Some(Box::new((kind, name.to_owned())));
        self
    }

    pub fn conceal(mut self) -> Self {
        self.is_concealed = true;
        self
    }

    pub(crate) fn show_written(&mut self, value: &str, written: &str) {
        let (value, written) = (shown(value), shown(written));
        let name = |shown: &str| format!("\"{}\"", shown.trim_matches('`'));
        self.message = self
            .message
            .replace(&value, &written)
            .replace(&name(&value), &name(&written));
        if self.code == codes::WRONG_TYPE {
            self.hint = Some("the environment holds something else".to_owned());
        }
        let inner = value.trim_matches('`');
        if !inner.is_empty() && self.hint.as_ref().is_some_and(|hint| hint.contains(inner)) {
            self.hint = None;
        }
    }

    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

/// As YAML counts lines (1.2, 5.4): a carriage return alone ends one, too.
pub fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// A written value as errors show it: in backticks, short, without control characters.
pub fn shown(value: &str) -> String {
    let mut text: String = value
        .chars()
        .take(SHOWN_VALUE_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if value.chars().nth(SHOWN_VALUE_CHARS).is_some() {
        text.push_str("...");
    }
    // `escape_debug` also escapes quotes, which need no escape between backticks.
    format!("`{}`", text.replace("\\\"", "\"").replace("\\'", "'"))
}

/// `did you mean "orders"?` for the nearest of the names, where one is near.
pub fn suggestion<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
    // Quadratic in the length of what was written.
    if written.chars().nth(SHOWN_VALUE_CHARS).is_some() {
        return None;
    }
    let scored = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name));
    let (distance, name) = scored.min()?;
    let near = (written.chars().count().max(name.chars().count()) / 3).max(1);
    (distance <= near).then(|| format!("did you mean \"{name}\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    #[test]
    fn suggestions() {
        let names = ["orders", "users"];
        assert_eq!(
            suggestion("ordres", names).as_deref(),
            Some("did you mean \"orders\"?")
        );
        assert_eq!(suggestion("payments", names), None);
        assert_eq!(suggestion(&"o".repeat(1_000), names), None);
    }

    #[test]
    fn lines_end_as_in_yaml() {
        let lines: Vec<&str> = lines_of("a\r\nb\rc\n\nd").collect();
        assert_eq!(lines, ["a", "b", "c", "", "d"]);
    }

    #[test]
    fn control_characters_are_not_printed() {
        assert_eq!(shown("a\u{1b}[31m\"x\""), "`a\\u{1b}[31m\"x\"`");
        assert!(shown(&"x".repeat(1_000)).len() < 100);
    }

    #[test]
    fn only_so_many_are_printed() {
        let mut report = Report::default();
        for line in 1..=130 {
            report.push(
                Mark {
                    file: 0,
                    line,
                    column: 1,
                    length: 1,
                },
                Fault::new("P000", "wrong"),
            );
        }
        let text = report.finish(&[]).to_string();
        assert_eq!(text.matches("wrong").count(), PRINTED_MAX);
        assert!(text.ends_with("\nand 30 more"), "{text}");
    }
}
