//! Text with variables of the match in it: `/v2/users/{id}`.
//!
//! Invariant: every variable of a route is captured by every one of its matches.

use std::collections::BTreeSet;

use regex::RegexBuilder;

use super::{Compiler, paths};
use crate::codes;
use crate::diagnostic::{Fault, Mark, shown, suggestion};
use crate::document::{PathDoc, RouteDoc};
use crate::field::{At, Either, items};
use crate::model::{Pattern, Piece};

/// Compiled bytes of a regex that is asked for the names of its groups; matches have a bound of their own.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Variables of one pattern: each brings as many bytes as a request's path may have.
const VARIABLES_MAX: usize = 16;

/// What every match of a route captures.
pub(super) struct Variables {
    /// None where no match could be read: then nothing is known to be missing.
    names: Option<BTreeSet<String>>,
}

impl Variables {
    pub(super) fn of(route: &RouteDoc) -> Self {
        let paths = items(&route.matches).filter_map(|written| written.value.path.given());
        let names = paths.map(|path| match &path.value {
            Either::Plain(_) => BTreeSet::new(),
            Either::Full(doc) => captured(doc),
        });
        Self {
            names: names.reduce(|all, names| &all & &names),
        }
    }

    /// The fault of a pattern that has others.
    pub(super) fn check(&self, pattern: &Pattern) -> Result<(), Fault> {
        if pattern.captures().nth(VARIABLES_MAX).is_some() {
            let message = format!("more than {VARIABLES_MAX} variables");
            return Err(Fault::new(codes::TOO_MUCH, message));
        }
        let Some(names) = &self.names else {
            return Ok(());
        };
        let Some(unknown) = pattern.captures().find(|name| !names.contains(&***name)) else {
            return Ok(());
        };
        let message = format!(
            "{} is not a variable of every match",
            shown(&format!("{{{unknown}}}"))
        );
        let fault = Fault::new(codes::VARIABLE, message);
        Err(
            match suggestion(unknown, names.iter().map(String::as_str)) {
                Some(hint) => fault.hint(hint),
                None => {
                    fault.hint("variables are those of `template` and the named groups of `regex`")
                }
            },
        )
    }
}

fn captured(doc: &PathDoc) -> BTreeSet<String> {
    if let Some(template) = doc.template.given() {
        let segments = template.value.split('/');
        let names = segments.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        return names.map(str::to_owned).collect();
    }
    let Some(regex) = doc.regex.given() else {
        return BTreeSet::new();
    };
    let compiled = RegexBuilder::new(&regex.value)
        .size_limit(REGEX_BYTES_MAX)
        .build();
    // One that does not compile is reported where it is matched by.
    compiled.map_or_else(
        |_| BTreeSet::new(),
        |regex| regex.capture_names().flatten().map(str::to_owned).collect(),
    )
}

/// A path: `/v2/users/{id}`. Its text is spelled as paths of requests are brought to.
pub(super) fn path(text: &str) -> Result<Pattern, Fault> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            let message = format!("{} has a brace without its other half", shown(text));
            return Err(Fault::new(codes::VARIABLE, message));
        };
        if !is_name(name) {
            let message = format!("{} is no name for a variable", shown(name));
            return Err(Fault::new(codes::VARIABLE, message));
        }
        push_text(&mut pieces, before);
        pieces.push(Piece::Capture(name.into()));
        rest = after;
    }
    push_text(&mut pieces, rest);
    let pattern = Pattern(pieces);
    // Variables hold what a path has already; what stands between them is checked like any path.
    let stand_in = |name: &str| format!("~{name}~");
    let mut plain = String::new();
    for piece in &pattern.0 {
        match piece {
            Piece::Text(text) => plain.push_str(text),
            Piece::Capture(name) => plain.push_str(&stand_in(name)),
        }
    }
    if plain.contains('}') {
        let message = format!("{} has a brace without its other half", shown(text));
        return Err(Fault::new(codes::VARIABLE, message));
    }
    paths::check(&plain).map_err(|mut fault| {
        for name in pattern.captures() {
            let written = format!("{{{name}}}");
            fault.message = fault.message.replace(&stand_in(name), &written);
            fault.hint = fault
                .hint
                .map(|hint| hint.replace(&stand_in(name), &written));
        }
        fault
    })?;
    Ok(pattern)
}

/// A field value. Braces were always allowed in these and JSON is full of them: only `{name}` is a
/// variable, `{{name}}` is its text, and every other brace is text.
pub(super) fn field_value(text: &str) -> Pattern {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        literal.push_str(before);
        if let Some((name, after)) = braced(from, "{{", "}}") {
            literal.push_str(&format!("{{{name}}}"));
            rest = after;
        } else if let Some((name, after)) = braced(from, "{", "}") {
            push_text(&mut pieces, &literal);
            literal.clear();
            pieces.push(Piece::Capture(name.into()));
            rest = after;
        } else {
            literal.push('{');
            rest = from.get(1..).unwrap_or("");
        }
    }
    literal.push_str(rest);
    push_text(&mut pieces, &literal);
    Pattern(pieces)
}

fn braced<'t>(text: &'t str, open: &str, close: &str) -> Option<(&'t str, &'t str)> {
    let (name, after) = text.strip_prefix(open)?.split_once(close)?;
    is_name(name).then_some((name, after))
}

/// As in templates.
fn is_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

impl Compiler<'_> {
    /// A path of which every variable is known.
    pub(super) fn path_pattern(
        &mut self,
        written: &At<String>,
        variables: &Variables,
    ) -> Option<Pattern> {
        let pattern = self.report.check(written.mark, path(&written.value))?;
        self.known(written.mark, &pattern, variables)
            .then_some(pattern)
    }

    pub(super) fn known(&mut self, mark: Mark, pattern: &Pattern, variables: &Variables) -> bool {
        self.report.check(mark, variables.check(pattern)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: Pattern, expected: &str) {
        let pieces = pattern.0.iter().map(|piece| match piece {
            Piece::Text(text) => format!("'{text}'"),
            Piece::Capture(name) => format!("<{name}>"),
        });
        assert_eq!(pieces.collect::<String>(), expected);
    }

    #[test]
    fn paths() {
        check(path("/a/{id}/b").unwrap(), "'/a/'<id>'/b'");
        check(path("/{a}.{b}").unwrap(), "'/'<a>'.'<b>");
        check(path("/").unwrap(), "'/'");
        for (wrong, message) in [
            ("/{id", "`/{id` has a brace without its other half"),
            ("/id}", "`/id}` has a brace without its other half"),
            ("/{a}/}", "`/{a}/}` has a brace without its other half"),
            ("/{1}", "`1` is no name for a variable"),
            ("/{}", "`` is no name for a variable"),
            ("/{a{b}}", "`a{b` is no name for a variable"),
            (
                "//{a}",
                "path `//{a}` is not in the spelling that requests are compared in",
            ),
            (
                "{a}",
                "path `{a}` is not in the spelling that requests are compared in",
            ),
            ("/{a}?x=1", "path `/{a}?x=1` has a query or fragment"),
            (
                "/{a}/../b",
                "path `/{a}/../b` has a dot segment, such requests are refused",
            ),
        ] {
            assert_eq!(path(wrong).unwrap_err().message, message);
        }
        assert_eq!(path("//{a}").unwrap_err().hint.unwrap(), "write `/{a}`");
    }

    #[test]
    fn field_values() {
        check(field_value("plain"), "'plain'");
        check(field_value("{tenant}"), "<tenant>");
        check(field_value("a {b} c{d}"), "'a '<b>' c'<d>");
        check(field_value("{{tenant}}"), "'{tenant}'");
        let json = r#"{"group":"a","max_age":{"x":{}}}"#;
        check(field_value(json), &format!("'{json}'"));
        check(field_value("{a b} } {"), "'{a b} } {'");
        check(field_value("{{a}} {b}"), "'{a} '<b>");
        check(field_value(""), "");
    }

    #[test]
    fn missing_captures_are_empty() {
        let pattern = path("/{a}/{b}").unwrap();
        assert_eq!(pattern.expand(|name| (name == "a").then_some("x")), "/x/");
    }
}
