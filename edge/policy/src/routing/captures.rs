//! What the variables of a path stand for.
//!
//! Borrowed from rule and path and read when asked for: a route that uses no variable pays nothing.
//! What comes out is part of a canonical path, percent escapes and all.

use super::{PathMatch, Rule, Segment};

/// The variables of one request's path.
#[derive(Debug)]
pub struct Captures<'p> {
    path: &'p str,
    source: Source<'p>,
}

#[derive(Debug)]
enum Source<'p> {
    Nothing,
    Prefix(&'p str),
    Template(&'p [Segment]),
    Regex(regex::bytes::Captures<'p>),
}

impl<'p> Captures<'p> {
    /// The text of a variable; none where nothing is called so, or its group took no part.
    pub fn get(&self, name: &str) -> Option<&'p str> {
        match &self.source {
            Source::Nothing | Source::Prefix(_) => None,
            Source::Template(segments) => {
                let is_named = |segment: &Segment| matches!(segment, Segment::Capture(capture) if capture == name);
                let at = segments.iter().position(is_named)?;
                self.path.split('/').nth(at + 1)
            }
            Source::Regex(groups) => self.path.get(groups.name(name)?.range()),
        }
    }

    /// The prefix that matched, and what follows it: empty, or with a slash in front. The prefix `/`
    /// is empty here.
    pub fn prefix(&self) -> Option<(&'p str, &'p str)> {
        match self.source {
            Source::Prefix(stem) => self.path.split_at_checked(stem.len()),
            _ => None,
        }
    }
}

impl Rule {
    /// The variables of a path that this rule matched.
    pub fn captures<'p>(&'p self, path: &'p str) -> Captures<'p> {
        let source = match &self.path {
            PathMatch::Exact(_) => Source::Nothing,
            PathMatch::Prefix(prefix) => Source::Prefix(prefix.trim_end_matches('/')),
            PathMatch::Template(segments) => Source::Template(segments),
            PathMatch::Regex(regex) => regex
                .captures(path.as_bytes())
                .map_or(Source::Nothing, Source::Regex),
        };
        Captures { path, source }
    }
}

impl PathMatch {
    /// The names of its variables.
    pub fn variables(&self) -> Vec<&str> {
        match self {
            Self::Exact(_) | Self::Prefix(_) => Vec::new(),
            Self::Template(segments) => {
                let names = segments.iter().map(|segment| match segment {
                    Segment::Capture(name) => Some(name.as_str()),
                    Segment::Literal(_) => None,
                });
                names.flatten().collect()
            }
            Self::Regex(regex) => regex.group_names().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Conditions, Origin, Regex, Route};

    fn rule(path: PathMatch) -> Rule {
        let origin = Origin {
            file: "test.yaml".into(),
            line: 1,
        };
        Rule {
            hosts: Vec::new(),
            path,
            conditions: Conditions::default(),
            route: Arc::new(Route::tombstone("r".into(), origin)),
        }
    }

    #[test]
    fn templates() {
        let rule = rule(PathMatch::Template(vec![
            Segment::Literal("users".to_owned()),
            Segment::Capture("id".to_owned()),
            Segment::Capture("post".to_owned()),
        ]));
        let captures = rule.captures("/users/7%20a/x");
        assert_eq!(captures.get("id"), Some("7%20a"));
        assert_eq!(captures.get("post"), Some("x"));
        assert_eq!(captures.get("users"), None);
        assert_eq!(captures.prefix(), None);
        assert_eq!(rule.path.variables(), ["id", "post"]);
    }

    #[test]
    fn regexes() {
        let regex = Regex::of_path("/v(?P<major>[0-9]+)(/(?<rest>.*))?").unwrap();
        let rule = rule(PathMatch::Regex(regex));
        let captures = rule.captures("/v12/a/b");
        assert_eq!(captures.get("major"), Some("12"));
        assert_eq!(captures.get("rest"), Some("a/b"));
        assert_eq!(rule.captures("/v12").get("rest"), None);
        assert_eq!(rule.captures("/v12").get("other"), None);
        assert_eq!(rule.path.variables(), ["major", "rest"]);
    }

    #[test]
    fn prefixes() {
        let v1 = rule(PathMatch::Prefix("/v1".to_owned()));
        assert_eq!(v1.captures("/v1/a").prefix(), Some(("/v1", "/a")));
        assert_eq!(v1.captures("/v1").prefix(), Some(("/v1", "")));
        let root = rule(PathMatch::Prefix("/".to_owned()));
        assert_eq!(root.captures("/a").prefix(), Some(("", "/a")));
        let exact = rule(PathMatch::Exact("/a".to_owned()));
        assert_eq!(exact.captures("/a").prefix(), None);
    }
}
