//! Why a rule does not serve a request: for `explain`.
//!
//! Invariant: judged by the functions that traffic is judged by; a property test holds the two to
//! one answer.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};

use super::conditions::{Facts, values_of};
use super::paths::PathTable;
use super::{HostMatch, Mismatch, PathMatch, Request, RouteTable, Rule, Segment};
use crate::diagnostic::shown;

/// Rules whose path is nearly that of the request.
const NEAR_MAX: usize = 5;
/// Values of the request that are shown for one condition.
const SHOWN_VALUES_MAX: usize = 8;

/// A rule, and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'t> {
    pub rule: &'t Arc<Rule>,
    /// None for the rule that serves the request.
    pub lost: Option<Lost<'t>>,
}

/// Why a rule does not serve a request.
#[derive(Debug, Clone, Copy)]
pub enum Lost<'t> {
    Mismatch(Mismatch<'t>),
    /// All its conditions hold, and those of this one before it do too.
    Earlier(&'t Arc<Rule>),
}

impl RouteTable {
    /// Every rule whose host and path match, in order of precedence; each once.
    pub fn candidates<'t>(&'t self, request: Request<'_>) -> Vec<Candidate<'t>> {
        let mut facts = Facts::new(request);
        let mut winner: Option<&Arc<Rule>> = None;
        let mut seen = HashSet::new();
        let mut candidates = Vec::new();
        let _: ControlFlow<()> = self.visit(request, &mut |rule| {
            if seen.insert(Arc::as_ptr(rule)) {
                let mismatch = rule.check(&mut facts).err();
                let mismatch = mismatch.or_else(|| rule.method_mismatch(request));
                let lost = mismatch.map(Lost::Mismatch).or(winner.map(Lost::Earlier));
                if lost.is_none() {
                    winner = Some(rule);
                }
                candidates.push(Candidate { rule, lost });
            }
            ControlFlow::Continue(())
        });
        candidates
    }

    /// Whether there is a route of this name.
    pub fn has(&self, route: &str) -> bool {
        self.rules.iter().any(|rule| &*rule.route.name == route)
    }

    /// What became of each rule of a route; empty where no route is called so.
    pub fn why_not<'t>(&'t self, route: &str, request: Request<'_>) -> Vec<Candidate<'t>> {
        let candidates = self.candidates(request);
        let rules = self.rules.iter().filter(|rule| &*rule.route.name == route);
        let judged = rules.map(|rule| {
            let found = candidates.iter().find(|one| Arc::ptr_eq(one.rule, rule));
            found.copied().unwrap_or_else(|| {
                let serves = rule.hosts().iter().any(|host| host.serves(request.host));
                let mismatch = match serves {
                    false => Mismatch::Host(rule.hosts()),
                    true => Mismatch::Path(&rule.path),
                };
                let lost = Some(Lost::Mismatch(mismatch));
                Candidate { rule, lost }
            })
        });
        judged.collect()
    }

    /// Rules for the host whose path begins like that of the request, the nearest first.
    pub fn near<'t>(&'t self, request: Request<'_>) -> Vec<Candidate<'t>> {
        let tables = self.tables_for(request.host);
        let positions: HashSet<usize> = tables
            .flat_map(PathTable::lists)
            .flatten()
            .copied()
            .collect();
        let reached = self.candidates(request);
        let reached: HashSet<_> = reached.iter().map(|one| Arc::as_ptr(one.rule)).collect();
        let rules = positions.iter().filter_map(|at| self.rules.get(*at));
        let mut near: Vec<_> = rules
            .filter(|rule| !reached.contains(&Arc::as_ptr(rule)))
            .map(|rule| (rule.path.likeness(request.path), rule))
            .filter(|(likeness, _)| *likeness > 1)
            .collect();
        near.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.before(other)));
        near.truncate(NEAR_MAX);
        let lost = |rule: &'t Arc<Rule>| Some(Lost::Mismatch(Mismatch::Path(&rule.path)));
        let near = near.into_iter().map(|(_, rule)| Candidate {
            rule,
            lost: lost(rule),
        });
        near.collect()
    }
}

impl Rule {
    fn method_mismatch(&self, request: Request<'_>) -> Option<Mismatch<'_>> {
        let takes = self.takes(request.method);
        (!takes).then_some(Mismatch::Method(&self.conditions.methods))
    }
}

impl HostMatch {
    /// As the table finds it.
    fn serves(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Wildcard(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            Self::Any => true,
        }
    }
}

impl PathMatch {
    /// Bytes in which a path begins like this one.
    fn likeness(&self, path: &str) -> usize {
        let ours = match self {
            Self::Exact(path) | Self::Prefix(path) => path.clone(),
            Self::Template(segments) => literal_lead(segments),
            Self::Regex(regex) => regex.as_str().to_owned(),
        };
        let both = ours.bytes().zip(path.bytes());
        both.take_while(|(a, b)| a == b).count()
    }
}

/// What stands before the first variable.
fn literal_lead(segments: &[Segment]) -> String {
    let mut lead = String::from("/");
    for segment in segments {
        let Segment::Literal(text) = segment else {
            break;
        };
        lead.push_str(text);
        lead.push('/');
    }
    lead
}

impl Mismatch<'_> {
    /// What the rule wants, in the words of the language.
    pub fn wanted(&self) -> String {
        match self {
            Self::Host(hosts) => format!("host {}", list(hosts.iter())),
            Self::Path(path) => format!("path {path}"),
            Self::Method(methods) => format!("method {}", list(methods.iter())),
            Self::Header(name, value) => format!("header {name}: {value}"),
            Self::Query(name, value) => format!("query {name}: {value}"),
            Self::ClientAddress(set) => {
                let shown = set.ranges.iter().take(SHOWN_VALUES_MAX);
                let more = set.ranges.len().saturating_sub(SHOWN_VALUES_MAX);
                let more = if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                format!("client address in {}{more}", list(shown))
            }
            Self::ClientCertificate(wanted) => {
                let mut text = "client certificate".to_owned();
                for (key, value) in [("subject", &wanted.subject), ("san", &wanted.san)] {
                    if let Some(value) = value {
                        // Writing to a string cannot fail.
                        let _ = write!(text, " {key}: {value}");
                    }
                }
                if wanted.sha256.is_some() {
                    text.push_str(" by sha256");
                }
                text
            }
            Self::Claim(name, value) => format!("claim {name}: {value}"),
            Self::Any(alternatives) => format!("any of {} conditions", alternatives.len()),
            Self::Not(_) => "not what holds".to_owned(),
        }
    }

    /// What the request has instead. Credentials and what tokens say stay hidden.
    pub fn saw(&self, request: Request<'_>) -> String {
        match self {
            Self::Host(_) => shown(request.host),
            Self::Path(_) => shown(request.path),
            Self::Method(_) => shown(request.method.as_str()),
            Self::Header(name, _) => {
                let values = request.headers.get_all(*name).iter();
                if [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name) {
                    return each(values.map(|_| "a hidden value".to_owned()));
                }
                each(values.map(|value| shown(&String::from_utf8_lossy(value.as_bytes()))))
            }
            Self::Query(name, _) => {
                let values = values_of(request.query, name);
                each(values.map(|value| shown(&String::from_utf8_lossy(&value))))
            }
            Self::ClientAddress(_) => shown(&request.client.to_canonical().to_string()),
            Self::ClientCertificate(_) => request
                .certificate
                .map_or("none".to_owned(), |shown_by| shown(shown_by.subject)),
            Self::Claim(..) => "no verified token with it".to_owned(),
            Self::Any(_) => "none of them holds".to_owned(),
            Self::Not(_) => "it holds".to_owned(),
        }
    }
}

fn list<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    items.join(", ")
}

fn each(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.take(SHOWN_VALUES_MAX).collect();
    if values.is_empty() {
        return "none".to_owned();
    }
    values.join(", ")
}

impl std::fmt::Display for HostMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("any host"),
        }
    }
}

/// `/x`, `prefix /v1`, `template /users/{id}`, `regex /v[0-9]+`.
impl std::fmt::Display for PathMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(path) => write!(f, "prefix {path}"),
            Self::Regex(regex) => write!(f, "regex {}", regex.as_str()),
            Self::Template(segments) => {
                f.write_str("template ")?;
                segments.iter().try_for_each(|segment| match segment {
                    Segment::Literal(text) => write!(f, "/{text}"),
                    Segment::Capture(name) => write!(f, "/{{{name}}}"),
                })
            }
        }
    }
}
