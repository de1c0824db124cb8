//! The rules of one host pattern by path.
//!
//! A look-up allocates nothing, and looks at prefixes no longer than the longest of the policy: a
//! path of thousands of segments costs what a short one does. Only hosts with regular expressions
//! pay for them, with one search for all.

use std::cmp::{Ordering, Reverse};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{FastMap, PathMatch, Rule, Segment};
use crate::model::{PathRegexes, Regex};

/// Positions of rules by path; each list in order of precedence.
#[derive(Debug, Default)]
pub(super) struct PathTable {
    exact: FastMap<Box<str>, Vec<usize>>,
    templates: Node,
    /// Without a slash at the end: that of everything is empty.
    prefixes: FastMap<Box<str>, Vec<usize>>,
    prefix_bytes_max: usize,
    /// Longer ones first.
    regexes: Vec<(Regex, Vec<usize>)>,
    search: Option<PathRegexes>,
}

/// Templates, segment by segment. Literals are tried first, which puts templates with a literal
/// further left first.
#[derive(Debug, Default)]
struct Node {
    literals: FastMap<Box<str>, Node>,
    variable: Option<Box<Node>>,
    rules: Vec<usize>,
}

impl PathTable {
    pub(super) fn insert(&mut self, position: usize, path: &PathMatch) {
        let positions = match path {
            PathMatch::Exact(path) => self.exact.entry(path.as_str().into()).or_default(),
            PathMatch::Prefix(path) => {
                let stem = path.trim_end_matches('/');
                self.prefix_bytes_max = self.prefix_bytes_max.max(stem.len());
                self.prefixes.entry(stem.into()).or_default()
            }
            PathMatch::Template(segments) => {
                let node = segments.iter().fold(&mut self.templates, Node::below);
                &mut node.rules
            }
            PathMatch::Regex(regex) => {
                let longer_first = |other: &(Regex, _)| by_length(&other.0).cmp(&by_length(regex));
                let at = match self.regexes.binary_search_by(longer_first) {
                    Ok(at) => at,
                    Err(at) => {
                        self.regexes.insert(at, (regex.clone(), Vec::new()));
                        at
                    }
                };
                &mut self.regexes[at].1
            }
        };
        positions.push(position);
    }

    /// Sort, once all rules are in.
    pub(super) fn finish(&mut self, rules: &[Arc<Rule>]) {
        for positions in self.lists_mut() {
            positions.sort_by(|a, b| match (rules.get(*a), rules.get(*b)) {
                (Some(a), Some(b)) => a.before(b),
                _ => Ordering::Equal,
            });
        }
        if !self.regexes.is_empty() {
            let regexes = self.regexes.iter().map(|(regex, _)| regex.clone());
            self.search = Some(PathRegexes::new(regexes.collect()));
        }
    }

    fn lists_mut(&mut self) -> Vec<&mut Vec<usize>> {
        let mut lists: Vec<&mut Vec<usize>> = self.exact.values_mut().collect();
        lists.extend(self.prefixes.values_mut());
        lists.extend(self.regexes.iter_mut().map(|(_, list)| list));
        let mut nodes = vec![&mut self.templates];
        while let Some(node) = nodes.pop() {
            lists.push(&mut node.rules);
            nodes.extend(node.literals.values_mut());
            nodes.extend(node.variable.as_deref_mut());
        }
        lists
    }

    /// Every list, in no order.
    pub(super) fn lists(&self) -> Vec<&[usize]> {
        let mut lists: Vec<&[usize]> = self.exact.values().map(Vec::as_slice).collect();
        lists.extend(self.prefixes.values().map(Vec::as_slice));
        lists.extend(self.regexes.iter().map(|(_, list)| list.as_slice()));
        let mut nodes = vec![&self.templates];
        while let Some(node) = nodes.pop() {
            lists.push(&node.rules);
            nodes.extend(node.literals.values());
            nodes.extend(node.variable.as_deref());
        }
        lists
    }

    /// Regular expressions and their lists.
    pub(super) fn regexes(&self) -> impl Iterator<Item = (&Regex, &[usize])> {
        let each = self.regexes.iter();
        each.map(|(regex, list)| (regex, list.as_slice()))
    }

    /// Each list whose path matches, in order of precedence.
    pub(super) fn visit<'a, B>(
        &'a self,
        path: &str,
        visit: &mut impl FnMut(&'a [usize]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if let Some(list) = self.exact.get(path) {
            visit(list)?;
        }
        // `OPTIONS *` is about no path.
        let Some(segments) = path.strip_prefix('/') else {
            return ControlFlow::Continue(());
        };
        self.templates.visit(Some(segments), visit)?;
        self.visit_prefixes(path, visit)?;
        if let Some(search) = &self.search {
            for at in search.matching(path) {
                let list = self.regexes.get(at).map_or(&[][..], |(_, list)| list);
                visit(list)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The lists of the prefixes of a path.
    pub(super) fn prefixes_above(&self, path: &str) -> Vec<&[usize]> {
        let mut lists = Vec::new();
        let _: ControlFlow<()> = self.visit_prefixes(path, &mut |list| {
            lists.push(list);
            ControlFlow::Continue(())
        });
        lists
    }

    /// From the longest to the shortest.
    fn visit_prefixes<'a, B>(
        &'a self,
        path: &str,
        visit: &mut impl FnMut(&'a [usize]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if self.prefixes.is_empty() {
            return ControlFlow::Continue(());
        }
        // Prefixes are ASCII and end where a segment does.
        let mut end = path.len();
        loop {
            if end <= self.prefix_bytes_max
                && let Some(list) = path.get(..end).and_then(|stem| self.prefixes.get(stem))
            {
                visit(list)?;
            }
            let shorter = path.as_bytes().get(..end.min(self.prefix_bytes_max + 1));
            let slash = shorter.and_then(|bytes| bytes.iter().rposition(|byte| *byte == b'/'));
            match slash {
                Some(slash) => end = slash,
                None => return ControlFlow::Continue(()),
            }
        }
    }
}

impl Node {
    fn below(&mut self, segment: &Segment) -> &mut Self {
        match segment {
            Segment::Literal(text) => self.literals.entry(text.as_str().into()).or_default(),
            Segment::Capture(_) => self.variable.get_or_insert_default(),
        }
    }

    /// `rest` is what follows the slash; none at the end. As deep as the deepest template.
    fn visit<'a, B>(
        &'a self,
        rest: Option<&str>,
        visit: &mut impl FnMut(&'a [usize]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(rest) = rest else {
            return visit(&self.rules);
        };
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        if let Some(next) = self.literals.get(segment) {
            next.visit(rest, visit)?;
        }
        match &self.variable {
            Some(next) if !segment.is_empty() => next.visit(rest, visit),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Regular expressions have no order of their own: the longer is taken to say more.
fn by_length(regex: &Regex) -> (Reverse<usize>, &str) {
    (Reverse(regex.as_str().len()), regex.as_str())
}

impl Rule {
    /// Order of rules with the same host and path.
    pub(super) fn before(&self, other: &Self) -> Ordering {
        let rank = |rule: &Self| {
            let conditions = &rule.conditions;
            (
                conditions.methods.is_empty(),
                Reverse(conditions.headers.len()),
                Reverse(conditions.query.len()),
                Reverse(conditions.others()),
            )
        };
        let by_name = || self.route.name.cmp(&other.route.name);
        rank(self).cmp(&rank(other)).then_with(by_name)
    }
}
