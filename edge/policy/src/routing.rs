//! Host, path, method, headers and query to a route.
//!
//! Precedence is the Gateway API's (HTTPRoute, "Precedence"): exact host, then the longest
//! wildcard, then any host; exact path, then template, then longest prefix; then a method
//! condition, more header conditions, more query conditions; then the name. The table is
//! built at reload; a look-up hashes the path and each of its prefixes, and never scans all routes.

mod captures;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::model::{Conditions, Route, ValueMatch};

pub use captures::Captures;

type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<ahash::AHasher>>;

/// Hosts that a rule serves; compared without port, in lower case, without trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostMatch {
    Exact(String),
    /// `*.example.com` is kept as `.example.com`: any non-empty prefix of whole labels.
    Wildcard(String),
    Any,
}

/// Compared with the canonical path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    Exact(String),
    /// Whole segments: `/v1` matches `/v1` and `/v1/x`, not `/v10`. `/` matches everything.
    Prefix(String),
    /// `/users/{id}/posts`: one segment for each braced name.
    Template(Vec<Segment>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    Literal(String),
    Capture(String),
}

/// One rule before it is sorted into the table.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Empty means any host.
    pub hosts: Vec<HostMatch>,
    pub path: PathMatch,
    pub conditions: Conditions,
    pub route: Arc<Route>,
}

/// What a request is matched by; `path` is canonical, `host` lower case without port.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub host: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
}

/// The outcome of a look-up.
#[derive(Debug)]
pub enum Selected<'a> {
    Rule(&'a Arc<Rule>),
    /// Host and path are served, with other methods only (RFC 9110, 15.5.6).
    MethodNotAllowed(Vec<Method>),
    NotFound,
}

/// Hosts in front, paths behind.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact_hosts: FastMap<String, PathTable>,
    /// Keyed by the suffix with its leading dot.
    wildcard_hosts: FastMap<String, PathTable>,
    any_host: PathTable,
    /// In the order of the files; what the tables point into.
    rules: Vec<Arc<Rule>>,
    routes: Vec<Arc<Route>>,
}

/// Positions in `RouteTable::rules` by path; each list in order of precedence.
#[derive(Debug, Default)]
struct PathTable {
    exact: FastMap<String, Vec<usize>>,
    /// By number of segments; shapes with a literal further left first.
    templates: FastMap<usize, Vec<Shape>>,
    prefixes: FastMap<String, Vec<usize>>,
}

/// Templates with their variables at the same places: one look-up serves all of them.
#[derive(Debug)]
struct Shape {
    /// `true` is a variable; `false` sorts first.
    is_capture: Vec<bool>,
    /// By the literals, each followed by a slash.
    by_literals: FastMap<String, Vec<usize>>,
}

impl RouteTable {
    /// Sort the rules into a table.
    pub fn build(rules: Vec<Rule>) -> Self {
        let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
        let mut table = Self::default();
        let mut seen = HashSet::new();
        for (position, rule) in rules.iter().enumerate() {
            if seen.insert(Arc::as_ptr(&rule.route)) {
                table.routes.push(rule.route.clone());
            }
            if rule.hosts.is_empty() {
                table.any_host.insert(position, &rule.path);
            }
            for host in &rule.hosts {
                table.paths_of(host).insert(position, &rule.path);
            }
        }
        let tables = [&mut table.exact_hosts, &mut table.wildcard_hosts];
        for paths in tables.into_iter().flat_map(HashMap::values_mut) {
            paths.sort(&rules);
        }
        table.any_host.sort(&rules);
        table.rules = rules;
        table
    }

    fn paths_of(&mut self, host: &HostMatch) -> &mut PathTable {
        match host {
            HostMatch::Exact(name) => self.exact_hosts.entry(name.clone()).or_default(),
            HostMatch::Wildcard(suffix) => self.wildcard_hosts.entry(suffix.clone()).or_default(),
            HostMatch::Any => &mut self.any_host,
        }
    }

    /// Every route once, in the order of the files.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }

    /// Every rule, in the order of the files.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The first rule in order of precedence that the request satisfies.
    pub fn select<'a>(&'a self, request: Request<'_>) -> Selected<'a> {
        let mut allowed = Vec::new();
        let mut first = |positions: &[usize]| self.first_match(positions, request, &mut allowed);
        for paths in self.tables_for(request.host) {
            if let Some(rule) = paths.select(request.path, &mut first) {
                return Selected::Rule(rule);
            }
        }
        if allowed.is_empty() {
            return Selected::NotFound;
        }
        allowed.sort_by(|a: &Method, b| a.as_str().cmp(b.as_str()));
        allowed.dedup();
        Selected::MethodNotAllowed(allowed)
    }

    /// Path tables from the most specific host to the least.
    fn tables_for<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a PathTable> {
        let exact = self.exact_hosts.get(host);
        let wildcards: Vec<&PathTable> = if self.wildcard_hosts.is_empty() {
            Vec::new()
        } else {
            host.match_indices('.')
                .filter(|(at, _)| *at > 0)
                .filter_map(|(at, _)| self.wildcard_hosts.get(host.get(at..)?))
                .collect()
        };
        exact
            .into_iter()
            .chain(wildcards)
            .chain(std::iter::once(&self.any_host))
    }

    fn first_match(
        &self,
        positions: &[usize],
        request: Request<'_>,
        allowed: &mut Vec<Method>,
    ) -> Option<&Arc<Rule>> {
        for rule in positions
            .iter()
            .filter_map(|position| self.rules.get(*position))
        {
            let conditions = &rule.conditions;
            if !conditions.headers_and_query_hold(request) {
                continue;
            }
            if conditions.methods.is_empty() || conditions.methods.contains(request.method) {
                return Some(rule);
            }
            allowed.extend(conditions.methods.iter().cloned());
        }
        None
    }
}

impl PathTable {
    fn insert(&mut self, position: usize, path: &PathMatch) {
        let positions = match path {
            PathMatch::Exact(path) => self.exact.entry(path.clone()).or_default(),
            PathMatch::Prefix(path) => {
                let key = path.trim_end_matches('/').to_owned();
                self.prefixes.entry(key).or_default()
            }
            PathMatch::Template(segments) => self.template(segments),
        };
        positions.push(position);
    }

    fn template(&mut self, segments: &[Segment]) -> &mut Vec<usize> {
        let is_capture: Vec<bool> = segments
            .iter()
            .map(|segment| matches!(segment, Segment::Capture(_)))
            .collect();
        let mut literals = String::new();
        for segment in segments {
            if let Segment::Literal(literal) = segment {
                literals.push_str(literal);
                literals.push('/');
            }
        }
        let shapes = self.templates.entry(segments.len()).or_default();
        let at = match shapes.binary_search_by(|shape| shape.is_capture.cmp(&is_capture)) {
            Ok(at) => at,
            Err(at) => {
                let by_literals = FastMap::default();
                shapes.insert(
                    at,
                    Shape {
                        is_capture,
                        by_literals,
                    },
                );
                at
            }
        };
        shapes[at].by_literals.entry(literals).or_default()
    }

    fn sort(&mut self, rules: &[Arc<Rule>]) {
        let shapes = self.templates.values_mut().flatten();
        let templates = shapes.flat_map(|shape| shape.by_literals.values_mut());
        let others = self.exact.values_mut().chain(self.prefixes.values_mut());
        for positions in others.chain(templates) {
            positions.sort_by_key(|position| rules.get(*position).map(|rule| rule.rank()));
        }
    }

    /// The first that `first` accepts among the lists whose path matches.
    fn select<'a>(
        &self,
        path: &str,
        first: &mut impl FnMut(&[usize]) -> Option<&'a Arc<Rule>>,
    ) -> Option<&'a Arc<Rule>> {
        if let Some(route) = self.exact.get(path).and_then(|positions| first(positions)) {
            return Some(route);
        }
        if !self.templates.is_empty() {
            let segments = path.split('/').skip(1).count();
            for shape in self.templates.get(&segments).into_iter().flatten() {
                if let Some(route) = shape.get(path).and_then(|positions| first(positions)) {
                    return Some(route);
                }
            }
        }
        if self.prefixes.is_empty() {
            return None;
        }
        let mut prefix = path.trim_end_matches('/');
        loop {
            if let Some(route) = self
                .prefixes
                .get(prefix)
                .and_then(|positions| first(positions))
            {
                return Some(route);
            }
            prefix = prefix.get(..prefix.rfind('/')?)?;
        }
    }
}

impl Shape {
    /// The rules of the template that a path with as many segments matches.
    fn get(&self, path: &str) -> Option<&Vec<usize>> {
        let mut literals = String::with_capacity(path.len());
        for (is_capture, part) in self.is_capture.iter().zip(path.split('/').skip(1)) {
            if !*is_capture {
                literals.push_str(part);
                literals.push('/');
            } else if part.is_empty() {
                return None;
            }
        }
        self.by_literals.get(&literals)
    }
}

impl Rule {
    /// Sorts rules with the same host and path.
    fn rank(&self) -> impl Ord + use<> {
        let conditions = &self.conditions;
        (
            conditions.methods.is_empty(),
            Reverse(conditions.headers.len()),
            Reverse(conditions.query.len()),
            self.route.name.clone(),
        )
    }
}

impl Conditions {
    fn headers_and_query_hold(&self, request: Request<'_>) -> bool {
        let headers = self.headers.iter().all(|(name, wanted)| {
            let mut values = request.headers.get_all(name).iter();
            match wanted {
                ValueMatch::Present => values.next().is_some(),
                ValueMatch::Exact(text) => values.any(|value| value.as_bytes() == text.as_bytes()),
            }
        });
        headers
            && self
                .query
                .iter()
                .all(|(name, wanted)| query_holds(request.query, name, wanted))
    }
}

fn query_holds(query: Option<&str>, name: &str, wanted: &ValueMatch) -> bool {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    query.unwrap_or("").split('&').any(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode(key) != name.as_bytes() || pair.is_empty() {
            return false;
        }
        match wanted {
            ValueMatch::Present => true,
            ValueMatch::Exact(text) => decode(value) == text.as_bytes(),
        }
    })
}

#[cfg(test)]
mod tests;
