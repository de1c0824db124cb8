//! Matches: which rules would be one and the same, and which would never be reached.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::Method;

use super::{Compiler, hosts, quoted};
use crate::codes;
use crate::diagnostic::{Fault, Mark, shown, suggestion};
use crate::document::MatchDoc;
use crate::field::{At, List};
use crate::model::{Conditions, Route};
use crate::routing::{HostMatch, PathMatch, RouteTable, Segment, Shadow};

/// Hosts of one route.
const HOSTS_MAX: usize = 256;
/// Combinations of host, match and method of all routes: what the routing table holds.
const COMBINATIONS_MAX: usize = 500_000;
/// Regular expressions of paths on one host: a host's are one search.
const PATH_REGEXES_MAX: usize = 512;

/// CONNECT and TRACE are not for routes: the edge is no tunnel, and TRACE shows credentials.
pub(super) const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::OPTIONS,
];

/// Who matches what, over all routes.
#[derive(Default)]
pub(super) struct Claimed<'d> {
    first: HashMap<(HostMatch, Option<Method>, usize), (&'d str, Mark)>,
    /// A number for everything but host and method.
    rests: HashMap<String, usize>,
    /// Path expressions by host.
    regexes: HashMap<HostMatch, HashSet<String>>,
}

impl Compiler<'_> {
    pub(super) fn hosts(&mut self, list: &List<String>) -> Vec<HostMatch> {
        if let Some(list) = list.given()
            && list.value.is_empty()
        {
            let fault = Fault::new(codes::MISSING, "the list of hosts is empty");
            self.report.push(
                list.mark,
                fault.hint("leave `hosts` out to serve every host"),
            );
        }
        let names = self.texts(list, HOSTS_MAX, |text| hosts::host(text).map(drop));
        names
            .iter()
            .filter_map(|name| hosts::host(name).ok())
            .collect()
    }

    /// Claims are those of a verified token: without one the match would never hold.
    pub(super) fn check_claims(
        &mut self,
        at: &At<MatchDoc>,
        conditions: &Conditions,
        route: &Route,
    ) {
        let auth = route.auth.as_ref();
        if !conditions.ask_for_claims() || auth.is_some_and(|auth| auth.has_claims()) {
            return;
        }
        let mark = at
            .value
            .claims
            .given()
            .map_or(at.mark, |claims| claims.mark);
        let message = format!(
            "the match asks for claims, and route {} takes no token",
            quoted(&route.name)
        );
        let fault = Fault::new(codes::CONTRADICTION, message);
        self.report.push(
            Mark { length: 1, ..mark },
            fault.hint("name an `issuer` in the route's `auth`"),
        );
    }

    /// Matches that are written for nothing.
    pub(super) fn report_shadows(&mut self, table: &RouteTable, marks: &[Mark]) {
        for Shadow { rule, by } in table.shadows() {
            let (Some(mark), Some(first)) = (marks.get(rule), marks.get(by)) else {
                continue;
            };
            let (Some(rule), Some(by)) = (table.rules().get(rule), table.rules().get(by)) else {
                continue;
            };
            let whose = match Arc::ptr_eq(&rule.route, &by.route) {
                true => "its match".to_owned(),
                false => format!("route {}", quoted(&by.route.name)),
            };
            let message = format!(
                "route {} never gets requests by this match: {whose} at {} takes them all",
                quoted(&rule.route.name),
                self.place(*first)
            );
            let fault = Fault::warning(codes::SHADOWED_ROUTE, message);
            self.report.push(
                *mark,
                fault.hint("remove the match, or make one of the two more specific"),
            );
        }
    }

    /// Report what another match has claimed already.
    pub(super) fn claim<'d>(
        &mut self,
        claimed: &mut Claimed<'d>,
        (route, mark): (&'d str, Mark),
        hosts: &[HostMatch],
        (path, conditions): (&PathMatch, &Conditions),
    ) {
        let any_host = [HostMatch::Any];
        let hosts = if hosts.is_empty() { &any_host } else { hosts };
        let any_method = [None];
        let methods: Vec<Option<&Method>> = conditions.methods.iter().map(Some).collect();
        let methods = if methods.is_empty() {
            &any_method[..]
        } else {
            &methods
        };
        let next = claimed.rests.len();
        let rest = rest_key(path, conditions);
        let rest = *claimed.rests.entry(rest).or_insert(next);
        for host in hosts {
            if let PathMatch::Regex(regex) = path {
                let regexes = claimed.regexes.entry(host.clone()).or_default();
                regexes.insert(regex.as_str().to_owned());
                if regexes.len() > PATH_REGEXES_MAX {
                    let message =
                        format!("more than {PATH_REGEXES_MAX} regular expressions for one host");
                    self.report.push(mark, Fault::new(codes::TOO_MUCH, message));
                    return;
                }
            }
            for method in methods {
                if claimed.first.len() >= COMBINATIONS_MAX {
                    let message = format!(
                        "more than {COMBINATIONS_MAX} combinations of host, match and method"
                    );
                    self.report.push(mark, Fault::new(codes::TOO_MUCH, message));
                    return;
                }
                let key = (host.clone(), method.cloned(), rest);
                let Some((other, first)) = claimed.first.get(&key) else {
                    claimed.first.insert(key, (route, mark));
                    continue;
                };
                let whose = if *other == route {
                    "another of its matches".to_owned()
                } else {
                    format!("route {}", quoted(other))
                };
                let what = describe(host, *method, path);
                let message = format!(
                    "route {} matches the same requests as {whose} at {}: {what}",
                    quoted(route),
                    self.place(*first)
                );
                self.report
                    .push(mark, Fault::new(codes::SAME_MATCH, message).other(*first));
                // One pair is enough to see it.
                return;
            }
        }
    }
}

pub(super) fn method(text: &str) -> Result<Method, Fault> {
    let known = METHODS.iter().find(|method| method.as_str() == text);
    known.cloned().ok_or_else(|| {
        let fault = Fault::new(
            codes::METHOD,
            format!("{} is not a method that routes match", shown(text)),
        );
        let names = METHODS.iter().map(Method::as_str);
        let hint = suggestion(&text.to_ascii_uppercase(), names.clone());
        fault.hint(
            hint.unwrap_or_else(|| format!("methods are {}", names.collect::<Vec<_>>().join(", "))),
        )
    })
}

/// Equal for matches that the same requests satisfy, host and method aside.
fn rest_key(path: &PathMatch, conditions: &Conditions) -> String {
    let path = match path {
        PathMatch::Prefix(path) => format!("prefix {}", path.trim_end_matches('/')),
        PathMatch::Template(segments) => {
            // The names of variables make no difference to what is matched.
            let shape = segments.iter().map(|segment| match segment {
                Segment::Literal(literal) => literal.as_str(),
                Segment::Capture(_) => "{}",
            });
            format!("template {}", shape.collect::<Vec<_>>().join("/"))
        }
        path => format!("{path:?}"),
    };
    let mut rest = conditions.clone();
    // Compared with each host and method.
    rest.methods.clear();
    format!("{path} {:?}", sorted(rest))
}

/// The order in which conditions are written makes no difference.
fn sorted(mut conditions: Conditions) -> Conditions {
    let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
    let Conditions {
        methods,
        headers,
        query,
        client_addresses: _,
        client_certificate: _,
        claims,
        all,
        any,
        not: _,
    } = &mut conditions;
    methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    query.sort_by(|(a, _), (b, _)| a.cmp(b));
    claims.sort_by(|(a, _), (b, _)| a.cmp(b));
    for list in [all, any] {
        *list = std::mem::take(list).into_iter().map(sorted).collect();
        list.sort_by_cached_key(|one| text(one));
    }
    conditions.not = conditions.not.map(|not| Box::new(sorted(*not)));
    conditions
}

fn describe(host: &HostMatch, method: Option<&Method>, path: &PathMatch) -> String {
    let host = match host {
        HostMatch::Any => "any host".to_owned(),
        host => shown(&host.to_string()),
    };
    let method = method.map_or("any method", Method::as_str);
    let path = path.to_string();
    let path = match path.split_once(' ') {
        Some((kind, path)) => format!("{kind} {}", shown(path)),
        None => shown(&path),
    };
    format!("{host}, {method}, {path}")
}
