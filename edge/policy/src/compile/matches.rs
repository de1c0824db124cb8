//! Matches: the conditions of a rule, and which rules would be one and the same.

use std::collections::HashMap;

use http::{HeaderName, Method};

use super::{Compiler, headers, hosts, quoted, values};
use crate::codes;
use crate::diagnostic::{Fault, Mark, shown, suggestion};
use crate::document::{MatchDoc, ValueDoc};
use crate::field::{At, Either, Entries, Field, List};
use crate::model::{Conditions, ValueMatch};
use crate::routing::{HostMatch, PathMatch, Segment};

/// Hosts of one route.
const HOSTS_MAX: usize = 256;
/// Header conditions, and query conditions, of one match: all are compared for each request.
const CONDITIONS_MAX: usize = 16;
/// Combinations of host, match and method of all routes: what the routing table holds.
const COMBINATIONS_MAX: usize = 500_000;

/// CONNECT and TRACE are not for routes: the edge is no tunnel, and TRACE shows credentials.
const METHODS: [Method; 7] = [
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
    first: HashMap<String, (&'d str, Mark)>,
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

    pub(super) fn conditions(&mut self, doc: &MatchDoc) -> Conditions {
        if let Some(list) = doc.methods.given()
            && list.value.is_empty()
        {
            let fault = Fault::new(codes::MISSING, "the list of methods is empty");
            self.report.push(
                list.mark,
                fault.hint("leave `methods` out to match every method"),
            );
        }
        let methods = self.texts(&doc.methods, METHODS.len(), |text| method(text).map(drop));
        let headers = self.value_matches(&doc.headers, condition_header);
        let query = self.value_matches(&doc.query, |text| {
            values::plain_text(text, "query parameter")?;
            Ok(text.to_owned())
        });
        Conditions {
            methods: methods
                .iter()
                .filter_map(|name| method(name).ok())
                .collect(),
            headers,
            query,
        }
    }

    fn value_matches<N: PartialEq>(
        &mut self,
        field: &Field<Entries<Either<ValueDoc>>>,
        name: impl Fn(&str) -> Result<N, Fault>,
    ) -> Vec<(N, ValueMatch)> {
        let mut matches: Vec<(N, ValueMatch)> = Vec::new();
        for (key, wanted) in field.given().into_iter().flat_map(|at| &at.value.0) {
            let name = self.report.check(key.mark, name(&key.value));
            let wanted = wanted.given().and_then(|at| self.value_match(at));
            let (Some(name), Some(wanted)) = (name, wanted) else {
                continue;
            };
            if matches.iter().any(|(other, _)| *other == name) {
                self.report.push(
                    key.mark,
                    Fault::new(
                        codes::REPEATED,
                        format!("{} is listed twice", shown(&key.value)),
                    ),
                );
            } else if matches.len() >= CONDITIONS_MAX {
                self.report.push(
                    key.mark,
                    Fault::new(
                        codes::TOO_MUCH,
                        format!("more than {CONDITIONS_MAX} conditions"),
                    ),
                );
                break;
            } else {
                matches.push((name, wanted));
            }
        }
        matches
    }

    fn value_match(&mut self, at: &At<Either<ValueDoc>>) -> Option<ValueMatch> {
        match &at.value {
            Either::Plain(text) => {
                let problem = if text.is_empty() {
                    Ok(())
                } else {
                    values::plain_text(text, "value")
                };
                self.report.check(at.mark, problem)?;
                Some(ValueMatch::Exact(text.clone()))
            }
            Either::Full(doc) => match doc.present.given() {
                Some(present) if present.value => Some(ValueMatch::Present),
                Some(present) => {
                    let fault = Fault::new(codes::CHOICE, "absence cannot be matched");
                    self.report.push(
                        present.mark,
                        fault.hint(
                            "let a route with `present: true` take the others, it comes first",
                        ),
                    );
                    None
                }
                None => {
                    if doc.present.is_absent() {
                        self.missing(
                            at.mark,
                            "the condition is neither a value nor `{present: true}`".to_owned(),
                        );
                    }
                    None
                }
            },
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
        let rest = rest_key(path, conditions);
        for host in hosts {
            for method in methods {
                if claimed.first.len() >= COMBINATIONS_MAX {
                    let message = format!(
                        "more than {COMBINATIONS_MAX} combinations of host, match and method"
                    );
                    self.report.push(mark, Fault::new(codes::TOO_MUCH, message));
                    return;
                }
                let key = format!("{host:?} {method:?} {rest}");
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

fn method(text: &str) -> Result<Method, Fault> {
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

fn condition_header(text: &str) -> Result<HeaderName, Fault> {
    let name = headers::readable_name(text)?;
    if name == http::header::HOST {
        return Err(Fault::new(
            codes::PROTECTED_HEADER,
            "the host is not matched as a header",
        )
        .hint("write `hosts`"));
    }
    Ok(name)
}

/// Equal for matches that the same requests satisfy, host and method aside.
fn rest_key(path: &PathMatch, conditions: &Conditions) -> String {
    let path = match path {
        PathMatch::Exact(path) => format!("= {path}"),
        PathMatch::Prefix(path) => format!("^ {}", path.trim_end_matches('/')),
        PathMatch::Template(segments) => {
            // The names of variables make no difference to what is matched.
            let shape = segments.iter().map(|segment| match segment {
                Segment::Literal(literal) => literal.as_str(),
                Segment::Capture(_) => "{}",
            });
            format!("~ {}", shape.collect::<Vec<_>>().join("/"))
        }
    };
    let mut headers: Vec<_> = conditions
        .headers
        .iter()
        .map(|(name, value)| format!("{name} {value:?}"))
        .collect();
    let mut query: Vec<_> = conditions
        .query
        .iter()
        .map(|(name, value)| format!("{name:?} {value:?}"))
        .collect();
    headers.sort();
    query.sort();
    format!("{path} {headers:?} {query:?}")
}

fn describe(host: &HostMatch, method: Option<&Method>, path: &PathMatch) -> String {
    let host = match host {
        HostMatch::Exact(name) => shown(name),
        HostMatch::Wildcard(suffix) => shown(&format!("*{suffix}")),
        HostMatch::Any => "any host".to_owned(),
    };
    let method = method.map_or("any method", Method::as_str);
    let path = match path {
        PathMatch::Exact(path) => shown(path),
        PathMatch::Prefix(path) => format!("prefix {}", shown(path)),
        PathMatch::Template(segments) => {
            let parts = segments.iter().map(|segment| match segment {
                Segment::Literal(literal) => format!("/{literal}"),
                Segment::Capture(name) => format!("/{{{name}}}"),
            });
            format!("template {}", shown(&parts.collect::<String>()))
        }
    };
    format!("{host}, {method}, {path}")
}
