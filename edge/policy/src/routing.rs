//! Host, path and conditions to a rule.
//!
//! Precedence is the Gateway API's (HTTPRoute, "Precedence"), with what it does not know put last:
//! exact host, then the longest wildcard, then any host; exact path, then template, then longest
//! prefix, then longest regular expression; then a method condition, more header conditions, more
//! query conditions, more other conditions; then the name. The table is built at reload; a look-up
//! hashes the path and its prefixes, and never scans all routes.

mod addresses;
mod candidates;
mod captures;
mod certificate;
mod conditions;
mod paths;
mod shadows;

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use http::{HeaderMap, Method};
use palisade_token::Claims;

use crate::model::{Conditions, Regex, Route};
use conditions::Facts;
use paths::{PathTable, Searches};

pub use candidates::{Candidate, Lost};
pub use captures::Captures;
pub use certificate::Certificate;
pub use conditions::Mismatch;
pub(crate) use shadows::Shadow;

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
    /// The whole path; its named groups are variables.
    Regex(Regex),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    Literal(String),
    Capture(String),
}

/// One match of a route.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Empty means any host.
    pub hosts: Vec<HostMatch>,
    pub path: PathMatch,
    pub conditions: Conditions,
    pub route: Arc<Route>,
}

/// What a request is matched by; `path` is canonical, `host` lower case without port.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub host: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    pub client: IpAddr,
    /// Of the connection, verified.
    pub certificate: Option<Certificate<'a>>,
    /// Those of the token that the route's `auth` takes, verified as for the route itself. Asked
    /// for rules about claims alone, and once for routes with the same credentials.
    pub claims: &'a dyn Fn(&Arc<Route>) -> Option<Arc<Claims>>,
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
    exact_hosts: FastMap<Box<str>, PathTable>,
    /// Keyed by the suffix with its leading dot.
    wildcard_hosts: FastMap<Box<str>, PathTable>,
    any_host: PathTable,
    /// In the order of the files; what the tables point into.
    rules: Vec<Arc<Rule>>,
    routes: Vec<Arc<Route>>,
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
            for host in rule.hosts() {
                table.paths_of(host).insert(position, &rule.path);
            }
        }
        let mut searches = Searches::new();
        let tables = [&mut table.exact_hosts, &mut table.wildcard_hosts];
        for paths in tables.into_iter().flat_map(HashMap::values_mut) {
            paths.finish(&rules, &mut searches);
        }
        table.any_host.finish(&rules, &mut searches);
        table.rules = rules;
        table
    }

    fn paths_of(&mut self, host: &HostMatch) -> &mut PathTable {
        match host {
            HostMatch::Exact(name) => self.exact_hosts.entry(name.as_str().into()).or_default(),
            HostMatch::Wildcard(suffix) => {
                let suffix = suffix.as_str().into();
                self.wildcard_hosts.entry(suffix).or_default()
            }
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

    /// The same for hosts that no rule tells apart: the host itself, the wildcard it is under (as
    /// `.example.com`), or `*`.
    pub fn class_of<'a>(&'a self, host: &'a str) -> &'a str {
        if self.exact_hosts.contains_key(host) {
            return host;
        }
        let mut dots = host.match_indices('.').filter(|(at, _)| *at > 0);
        let wildcard = dots.find_map(|(at, _)| {
            let suffix = host.get(at..)?;
            self.wildcard_hosts.contains_key(suffix).then_some(suffix)
        });
        wildcard.unwrap_or("*")
    }

    /// The first rule in order of precedence that the request satisfies.
    pub fn select<'a>(&'a self, request: Request<'_>) -> Selected<'a> {
        let mut facts = Facts::new(request);
        let mut allowed = Vec::new();
        let found = self.visit(request, &mut |rule| {
            if rule.check(&mut facts).is_err() {
                return ControlFlow::Continue(());
            }
            if rule.takes(request.method) {
                return ControlFlow::Break(rule);
            }
            allowed.extend(rule.conditions.methods.iter().cloned());
            ControlFlow::Continue(())
        });
        if let ControlFlow::Break(rule) = found {
            return Selected::Rule(rule);
        }
        if allowed.is_empty() {
            return Selected::NotFound;
        }
        allowed.sort_by(|a: &Method, b| a.as_str().cmp(b.as_str()));
        allowed.dedup();
        Selected::MethodNotAllowed(allowed)
    }

    /// Every rule whose host and path match, in order of precedence; one with several hosts may
    /// come more than once.
    fn visit<'a, B>(
        &'a self,
        request: Request<'_>,
        visit: &mut impl FnMut(&'a Arc<Rule>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut each = |positions: &'a [usize]| {
            let rules = positions.iter().filter_map(|at| self.rules.get(*at));
            rules.into_iter().try_for_each(&mut *visit)
        };
        let mut tables = self.tables_for(request.host);
        tables.try_for_each(|paths| paths.visit(request.path, &mut each))
    }

    /// Path tables from the most specific host to the least.
    fn tables_for<'a, 'h>(
        &'a self,
        host: &'h str,
    ) -> impl Iterator<Item = &'a PathTable> + use<'a, 'h> {
        let exact = self.exact_hosts.get(host).into_iter();
        let wildcards = Some(&self.wildcard_hosts).filter(|hosts| !hosts.is_empty());
        let wildcards = wildcards.into_iter().flat_map(move |hosts| {
            let dots = host.match_indices('.').filter(|(at, _)| *at > 0);
            dots.filter_map(move |(at, _)| hosts.get(host.get(at..)?))
        });
        exact
            .chain(wildcards)
            .chain(std::iter::once(&self.any_host))
    }

    fn tables(&self) -> impl Iterator<Item = &PathTable> {
        let named = self
            .exact_hosts
            .values()
            .chain(self.wildcard_hosts.values());
        named.chain(std::iter::once(&self.any_host))
    }
}

impl Rule {
    /// Never empty.
    fn hosts(&self) -> &[HostMatch] {
        const ANY: &[HostMatch] = &[HostMatch::Any];
        if self.hosts.is_empty() {
            ANY
        } else {
            &self.hosts
        }
    }
}

#[cfg(test)]
mod tests;
