//! Which requests a rule is for, as text.

use std::fmt::Write;

use palisade_policy::model::{Conditions, ValueMatch};
use palisade_policy::routing::{HostMatch, PathMatch, Rule, Segment};

/// On one line: hosts, path, conditions.
pub(super) fn describe(out: &mut String, rule: &Rule) {
    let hosts: Vec<String> = rule
        .hosts
        .iter()
        .map(|host| match host {
            HostMatch::Exact(name) => name.clone(),
            HostMatch::Wildcard(suffix) => format!("*{suffix}"),
            HostMatch::Any => "*".to_owned(),
        })
        .collect();
    let path = match &rule.path {
        PathMatch::Exact(path) => format!("= {path}"),
        PathMatch::Prefix(path) => format!("^ {path}"),
        PathMatch::Regex(regex) => format!("% {}", regex.as_str()),
        PathMatch::Template(segments) => {
            let parts = segments.iter().map(|segment| match segment {
                Segment::Literal(literal) => format!("/{literal}"),
                Segment::Capture(name) => format!("/{{{name}}}"),
            });
            format!("~ {}", parts.collect::<String>())
        }
    };
    let parts = conditions_of(&rule.conditions);
    writeln!(out, "  {hosts:?} {path} {}", parts.join(" ")).unwrap();
}

fn conditions_of(conditions: &Conditions) -> Vec<String> {
    let wanted = |value: &ValueMatch| match value {
        ValueMatch::Exact(text) => format!("={text}"),
        ValueMatch::Present => String::new(),
        other => format!(" {other}"),
    };
    let mut parts: Vec<String> = conditions.methods.iter().map(ToString::to_string).collect();
    parts.extend(
        conditions
            .headers
            .iter()
            .map(|(name, value)| format!("{name}{}", wanted(value))),
    );
    parts.extend(
        conditions
            .query
            .iter()
            .map(|(name, value)| format!("?{name}{}", wanted(value))),
    );
    let Conditions {
        methods: _,
        headers: _,
        query: _,
        client_addresses,
        client_certificate,
        claims,
        all,
        any,
        not,
    } = conditions;
    if let Some(set) = client_addresses {
        parts.push(format!("from {:?}", set.ranges));
    }
    if let Some(certificate) = client_certificate {
        parts.push(format!("{certificate:?}"));
    }
    parts.extend(
        claims
            .iter()
            .map(|(name, value)| format!("#{name}{}", wanted(value))),
    );
    for (word, list) in [("all", all), ("any", any)] {
        let list: Vec<String> = list
            .iter()
            .map(|one| conditions_of(one).join(" "))
            .collect();
        if !list.is_empty() {
            parts.push(format!("{word}({})", list.join("; ")));
        }
    }
    if let Some(not) = not {
        parts.push(format!("not({})", conditions_of(not).join(" ")));
    }
    parts
}
