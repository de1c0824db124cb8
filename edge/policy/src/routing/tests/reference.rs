//! Agreement of the table with a reference that sorts and scans all rules.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::{Asked, outcome, rule};
use crate::routing::*;

/// All rules in order of precedence, each compared as the documentation says.
fn reference(rules: &[Rule], request: Request<'_>) -> String {
    let mut all: Vec<(&HostMatch, &Rule)> = rules
        .iter()
        .flat_map(|rule| rule.hosts.iter().map(move |host| (host, rule)))
        .collect();
    all.sort_by_key(|(host, rule)| (Reverse(precedence(host, rule)), rule.route.name.clone()));
    let mut allowed = std::collections::BTreeSet::new();
    for (host, rule) in all {
        let conditions = &rule.conditions;
        let holds = host_holds(host, request.host)
            && path_holds(&rule.path, request.path)
            && conditions.headers_and_query_hold(request);
        if !holds {
            continue;
        }
        if conditions.methods.is_empty() || conditions.methods.contains(request.method) {
            return rule.route.name.to_string();
        }
        allowed.extend(conditions.methods.iter().map(Method::as_str));
    }
    if allowed.is_empty() {
        return "404".to_owned();
    }
    format!("405 {}", allowed.into_iter().collect::<Vec<_>>().join(","))
}

fn precedence(host: &HostMatch, rule: &Rule) -> impl Ord + use<> {
    let host = match host {
        HostMatch::Exact(_) => (2, 0),
        HostMatch::Wildcard(suffix) => (1, suffix.len()),
        HostMatch::Any => (0, 0),
    };
    let is_literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
    let path = match &rule.path {
        PathMatch::Exact(_) => (2, Vec::new(), 0),
        PathMatch::Template(segments) => (1, segments.iter().map(is_literal).collect(), 0),
        PathMatch::Prefix(path) => (0, Vec::new(), path.trim_end_matches('/').len()),
    };
    let conditions = &rule.conditions;
    let has_methods = !conditions.methods.is_empty();
    (
        host,
        path,
        has_methods,
        conditions.headers.len(),
        conditions.query.len(),
    )
}

fn host_holds(host: &HostMatch, asked: &str) -> bool {
    match host {
        HostMatch::Exact(name) => name == asked,
        HostMatch::Wildcard(suffix) => {
            asked.len() > suffix.len() && asked.ends_with(suffix.as_str())
        }
        HostMatch::Any => true,
    }
}

fn path_holds(path: &PathMatch, asked: &str) -> bool {
    match path {
        PathMatch::Exact(path) => path == asked,
        PathMatch::Prefix(path) => {
            let stem = path.trim_end_matches('/');
            asked == stem || asked.starts_with(&format!("{stem}/"))
        }
        PathMatch::Template(segments) => {
            let parts: Vec<&str> = asked.split('/').skip(1).collect();
            let holds = |(segment, part): (&Segment, &&str)| match segment {
                Segment::Literal(literal) => literal == part,
                Segment::Capture(_) => !part.is_empty(),
            };
            segments.len() == parts.len() && segments.iter().zip(&parts).all(holds)
        }
    }
}

/// Few words, so that rules and requests meet.
fn any_rule() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        Just("*"),
        Just("*.b.c"),
        Just("*.c"),
        Just("a.b.c"),
        Just("b.c")
    ];
    let segment = prop_oneof![Just("a"), Just("b"), Just("{v}")];
    let path = (
        prop_oneof![Just("="), Just("^"), Just("~")],
        prop::collection::vec(segment, 0..4),
    )
        .prop_map(|(kind, segments)| {
            let literal = |segment: &&str| {
                if kind == "~" {
                    segment.to_string()
                } else {
                    segment.replace("{v}", "c")
                }
            };
            format!(
                "{kind} /{}",
                segments.iter().map(literal).collect::<Vec<_>>().join("/")
            )
        });
    let condition = prop_oneof![
        Just("GET"),
        Just("PUT"),
        Just("x-a"),
        Just("x-b:1"),
        Just("?q"),
        Just("?r=1")
    ];
    (host, path, prop::collection::vec(condition, 0..3)).prop_map(|(host, path, conditions)| {
        let mut words = vec![host.to_owned(), path];
        words.extend(conditions.into_iter().map(str::to_owned));
        words.join("; ")
    })
}

fn any_request() -> impl Strategy<Value = Asked> {
    let method = prop_oneof![Just("GET"), Just("PUT"), Just("POST")];
    let host = prop_oneof![
        Just("a.b.c"),
        Just("b.c"),
        Just("x.a.b.c"),
        Just("c"),
        Just("d")
    ];
    let path = prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c"), Just("")], 1..5);
    let query = prop_oneof![Just(""), Just("?q"), Just("?r=1&q="), Just("?r=2")];
    let headers = prop::sample::subsequence(vec![("x-a", "1"), ("x-b", "1"), ("x-b", "2")], 0..=3);
    (method, host, path, query, headers).prop_map(|(method, host, path, query, headers)| {
        Asked::new(
            &format!("{method} {host} /{}{query}", path.join("/")),
            &headers,
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn select_agrees_with_the_reference(
        texts in prop::collection::vec(any_rule(), 0..12),
        requests in prop::collection::vec(any_request(), 1..8),
    ) {
        let rules: Vec<Rule> = texts.iter().enumerate().map(|(n, text)| rule(&format!("r{n:02}"), text)).collect();
        let table = RouteTable::build(rules.clone());
        for asked in &requests {
            prop_assert_eq!(outcome(table.select(asked.request())), reference(&rules, asked.request()), "{} {:?}", asked.path, texts);
        }
    }
}
