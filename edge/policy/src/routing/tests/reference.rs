//! Agreement of the table with a reference that sorts and scans all rules.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::notation::{Asked, route, rule};
use super::outcome;
use crate::model::ValueMatch;
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
            && conditions_hold(conditions, request);
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
        PathMatch::Exact(_) => (3, Vec::new(), 0, ""),
        PathMatch::Template(segments) => (2, segments.iter().map(is_literal).collect(), 0, ""),
        PathMatch::Prefix(path) => (1, Vec::new(), path.trim_end_matches('/').len(), ""),
        PathMatch::Regex(regex) => (0, Vec::new(), regex.as_str().len(), regex.as_str()),
    };
    let (kind, literals, length, text) = path;
    let conditions = &rule.conditions;
    let has_methods = !conditions.methods.is_empty();
    (
        host,
        (kind, literals, length, Reverse(text.to_owned())),
        has_methods,
        conditions.headers.len(),
        conditions.query.len(),
        conditions.others(),
    )
}

/// Methods at the top aside.
fn conditions_hold(conditions: &Conditions, request: Request<'_>) -> bool {
    let below = |one: &Conditions| {
        (one.methods.is_empty() || one.methods.contains(request.method))
            && conditions_hold(one, request)
    };
    let is = |wanted: &ValueMatch, value: &str| match wanted {
        ValueMatch::Exact(text) => text == value,
        ValueMatch::Prefix(text) => value.starts_with(text),
        ValueMatch::Suffix(text) => value.ends_with(text),
        ValueMatch::Regex(regex) => regex.is_match(value.as_bytes()),
        ValueMatch::Present => true,
    };
    let headers = conditions.headers.iter().all(|(name, wanted)| {
        let mut fields = request.headers.iter();
        fields.any(|(field, value)| field == name && is(wanted, value.to_str().unwrap()))
    });
    let query = conditions.query.iter().all(|(name, wanted)| {
        let mut pairs = url::form_urlencoded::parse(request.query.unwrap_or("").as_bytes());
        pairs.any(|(key, value)| key == name.as_str() && is(wanted, &value))
    });
    let token = (request.claims)(&route("any"));
    let claims = conditions.claims.iter().all(|(name, wanted)| {
        let claim = token.as_ref().and_then(|token| token.raw.get(name));
        claim.is_some_and(|claim| is(wanted, claim.as_str().unwrap()))
    });
    headers
        && query
        && claims
        && conditions.client_addresses.as_ref().is_none_or(|set| {
            set.ranges
                .iter()
                .any(|range| range.contains(&request.client))
        })
        && conditions.all.iter().all(below)
        && (conditions.any.is_empty() || conditions.any.iter().any(below))
        && !conditions.not.as_deref().is_some_and(below)
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
        PathMatch::Regex(regex) => {
            let text = format!("^(?:{})$", regex.as_str());
            asked.starts_with('/') && regex::Regex::new(&text).unwrap().is_match(asked)
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
    let regex = prop_oneof![
        Just("% /a.*"),
        Just("% /[ab]/."),
        Just("% .*"),
        Just("% .*b")
    ];
    let path = prop_oneof![3 => path, 1 => regex.prop_map(str::to_owned)];
    let condition = prop_oneof![
        Just("GET"),
        Just("PUT"),
        Just("x-a"),
        Just("x-b:1"),
        Just("x-b:/[12]/"),
        Just("?q"),
        Just("?r=1"),
        Just("?r=*2"),
        Just("@10.0.0.0/31"),
        Just("#c=1"),
        Just("#c=x*"),
        Just("!x-a"),
        Just("!#c=1"),
        Just("GET|x-b:2|#c"),
        Just("x-a&?q"),
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
    let lines = vec![
        ("x-a", "1"),
        ("x-b", "1"),
        ("x-b", "2"),
        ("client", "10.0.0.2"),
        ("claim:c", "\"1\""),
    ];
    let headers = prop::sample::subsequence(lines, 0..=5);
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
            asked.ask(|request| {
                let selected = outcome(table.select(request));
                prop_assert_eq!(&selected, &reference(&rules, request), "{} {:?}", asked.path, texts);
                // What `explain` says is what traffic gets.
                let candidates = table.candidates(request);
                let mut winners = candidates.iter().filter(|one| one.lost.is_none());
                let winner = winners.next().map(|one| one.rule.route.name.to_string());
                prop_assert!(winners.next().is_none());
                prop_assert_eq!(winner.as_deref().unwrap_or("none"), match table.select(request) {
                    Selected::Rule(rule) => &*rule.route.name,
                    _ => "none",
                });
                for rule in &rules {
                    let verdicts = table.why_not(&rule.route.name, request);
                    prop_assert_eq!(verdicts.len(), 1);
                    let wins = winner.as_deref() == Some(&*rule.route.name);
                    prop_assert_eq!(verdicts[0].lost.is_none(), wins, "{:?}", verdicts);
                }
                // A rule that is said to be unreachable serves nobody.
                for shadow in table.shadows() {
                    prop_assert_ne!(&selected, &*rules[shadow.rule].route.name, "{:?}", texts);
                }
                Ok(())
            })?;
        }
    }
}
