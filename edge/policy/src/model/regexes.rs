//! Regular expressions, compiled with bounds.
//!
//! The `regex` crate runs in time linear in what is read; the bounds here are on its memory.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex::bytes;

/// Of the expression as written.
pub const REGEX_TEXT_BYTES_MAX: usize = 1_024;
/// Of its compiled form: `\w{100}` in Unicode is larger, and hardly what was meant.
const PROGRAM_BYTES_MAX: usize = 256 * 1024;
/// Of the states that a search remembers, for each thread that searches.
const DFA_BYTES_MAX: usize = 256 * 1024;
/// Groups in groups.
const NESTING_MAX: u32 = 32;

/// A regular expression that the whole text must match; equal where it is written the same.
#[derive(Clone)]
pub struct Regex {
    text: Arc<str>,
    program: Arc<bytes::Regex>,
}

/// What is wrong with an expression, in one line.
#[derive(Debug, PartialEq, Eq)]
pub struct RegexFault(pub String);

impl Regex {
    /// For values: Unicode.
    ///
    /// # Errors
    /// Not an expression, or too large.
    pub fn of_value(text: &str) -> Result<Self, RegexFault> {
        Self::new(text, true)
    }

    /// For canonical paths, which are ASCII.
    ///
    /// # Errors
    /// Not an expression, or too large.
    pub fn of_path(text: &str) -> Result<Self, RegexFault> {
        Self::new(text, false)
    }

    fn new(text: &str, unicode: bool) -> Result<Self, RegexFault> {
        // On its own first: `a)|(b` must not close the group that anchors it.
        regex_syntax::ast::parse::ParserBuilder::new()
            .nest_limit(NESTING_MAX)
            .build()
            .parse(text)
            .map_err(|error| {
                let at = error.span().start.column;
                RegexFault(format!("{} at character {at}", error.kind()))
            })?;
        let program = bytes::RegexBuilder::new(&anchored(text))
            .unicode(unicode)
            .size_limit(PROGRAM_BYTES_MAX)
            .dfa_size_limit(DFA_BYTES_MAX)
            .nest_limit(NESTING_MAX + 2)
            .build()
            .map_err(|error| RegexFault(reason(&error)))?;
        Ok(Self {
            text: text.into(),
            program: Arc::new(program),
        })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn is_match(&self, text: &[u8]) -> bool {
        self.program.is_match(text)
    }

    pub fn captures<'t>(&self, text: &'t [u8]) -> Option<bytes::Captures<'t>> {
        self.program.captures(text)
    }

    /// The names of its groups, in their order.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.program.capture_names().flatten()
    }

    /// Texts of which one is at the beginning of whatever a path expression matches; none where
    /// there are none, or too many.
    pub fn beginnings(&self) -> Option<Vec<Vec<u8>>> {
        use regex_syntax::hir::literal::Extractor;
        let hir = regex_syntax::ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .build()
            .parse(&self.text)
            .ok()?;
        let found = Extractor::new().extract(&hir);
        let literals = found.literals()?.iter();
        Some(
            literals
                .map(|literal| literal.as_bytes().to_vec())
                .collect(),
        )
    }
}

/// Several path expressions, searched for at once.
#[derive(Debug)]
pub(crate) struct PathRegexes {
    regexes: Vec<Regex>,
    /// Missing where it would be too large: then each is tried.
    set: Option<bytes::RegexSet>,
}

impl PathRegexes {
    pub(crate) fn new(regexes: Vec<Regex>) -> Self {
        let texts = regexes.iter().map(|regex| anchored(&regex.text));
        let set = bytes::RegexSetBuilder::new(texts)
            .unicode(false)
            .size_limit(PROGRAM_BYTES_MAX.saturating_mul(regexes.len()))
            .dfa_size_limit(DFA_BYTES_MAX)
            .nest_limit(NESTING_MAX + 2)
            .build()
            .ok();
        Self { regexes, set }
    }

    /// Positions of those that match, in ascending order.
    pub(crate) fn matching(&self, path: &str) -> Vec<usize> {
        let path = path.as_bytes();
        match &self.set {
            Some(set) => set.matches(path).into_iter().collect(),
            None => {
                let each = self.regexes.iter().enumerate();
                let holds = each.filter(|(_, regex)| regex.is_match(path));
                holds.map(|(at, _)| at).collect()
            }
        }
    }
}

/// Nothing before and nothing after.
fn anchored(text: &str) -> String {
    format!(r"\A(?:{text})\z")
}

fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => {
            format!("it takes more than {PROGRAM_BYTES_MAX} bytes when compiled")
        }
        // Several lines with a drawing; the last says what is wrong.
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        }
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({:?})", self.text)
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Regex {}

impl Hash for Regex {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_is_compared() {
        let regex = Regex::of_value("a|bc").unwrap();
        for (text, expected) in [("a", true), ("bc", true), ("abc", false), ("a\n", false)] {
            assert_eq!(regex.is_match(text.as_bytes()), expected, "{text:?}");
        }
        assert!(Regex::of_value("^a$").unwrap().is_match(b"a"));
        assert!(Regex::of_value("ü+").unwrap().is_match("üü".as_bytes()));
    }

    #[test]
    fn what_is_wrong_is_said_in_a_line() {
        for (text, expected) in [
            ("a)|(b", "unopened group at character 2"),
            ("(a", "unclosed group at character 1"),
            (
                "a{2,1}",
                "invalid repetition count range, the start must be <= the end at character 2",
            ),
            (
                r"(?<n>a)(?<n>b)",
                "duplicate capture group name at character 11",
            ),
            (r"\w{500}", "it takes more than 262144 bytes when compiled"),
            (
                "(?=a)",
                "look-around, including look-ahead and look-behind, is not supported at character 1",
            ),
            (r"(a)\1", "backreferences are not supported at character 4"),
            (r"\p{Nope}", "Unicode property not found"),
        ] {
            assert_eq!(
                Regex::of_value(text),
                Err(RegexFault(expected.to_owned())),
                "{text}"
            );
        }
        assert!(Regex::of_value(&"(".repeat(100)).is_err());
        assert!(Regex::of_value(&format!("{}a{}", "(".repeat(40), ")".repeat(40))).is_err());
        // A comment to the end must not swallow what anchors.
        assert!(Regex::of_value("(?x)a # b").is_err());
    }

    #[test]
    fn one_search_or_several_find_the_same() {
        let regexes = ["/a/.*", "/[0-9]+", "/a/b"].map(|text| Regex::of_path(text).unwrap());
        let mut all = PathRegexes::new(regexes.to_vec());
        assert!(all.set.is_some());
        let found = |all: &PathRegexes, path| all.matching(path);
        assert_eq!(found(&all, "/a/b"), [0, 2]);
        all.set = None;
        assert_eq!(found(&all, "/a/b"), [0, 2]);
        assert_eq!(found(&all, "/7"), [1]);
        assert!(found(&all, "/7/").is_empty());
    }

    #[test]
    fn beginnings() {
        let of = |text: &str| {
            let found = Regex::of_path(text).unwrap().beginnings()?;
            let texts = found
                .into_iter()
                .map(|text| String::from_utf8(text).unwrap());
            Some(texts.collect::<Vec<_>>())
        };
        assert_eq!(
            of("/v1/[0-9]+x"),
            Some((0..10).map(|n| format!("/v1/{n}")).collect())
        );
        assert_eq!(of("/v1/.+"), Some(vec!["/v1/".to_owned()]));
        assert_eq!(
            of("(?:/a|/b)/x"),
            Some(vec!["/a/x".to_owned(), "/b/x".to_owned()])
        );
        assert_eq!(of(".*"), None);
    }
}
