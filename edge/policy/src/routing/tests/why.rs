//! Why a rule does not serve a request, in words; which rules nobody can reach.

use super::*;
use crate::model::ValueMatch;

/// Each rule by name, with what it wanted and saw instead.
fn verdicts(candidates: &[Candidate<'_>], request: Request<'_>) -> Vec<String> {
    let verdict = |candidate: &Candidate<'_>| {
        let name = &candidate.rule.route.name;
        match &candidate.lost {
            None => format!("{name}: serves"),
            Some(Lost::Earlier(rule)) => format!("{name}: after {}", rule.route.name),
            Some(Lost::Mismatch(mismatch)) => {
                format!(
                    "{name}: {}, saw {}",
                    mismatch.wanted(),
                    mismatch.saw(request)
                )
            }
        }
    };
    candidates.iter().map(verdict).collect()
}

fn table(rules: &[(&str, &str)]) -> RouteTable {
    RouteTable::build(rules.iter().map(|(name, text)| rule(name, text)).collect())
}

#[test]
fn runners_up_in_order_of_precedence() {
    let table = table(&[
        ("put", "*; = /p; PUT"),
        ("header", "*; = /p; x-a:1*"),
        ("query", "*; = /p; ?q=1"),
        ("address", "*; = /p; @192.0.2.0/24"),
        ("certificate", "*; = /p; $CN=z"),
        ("claim", "*; = /p; #tier=gold"),
        ("not", "*; = /p; !GET"),
        ("any", "*; = /p; x-b|x-c"),
        ("plain", "*; = /p"),
        ("prefix", "*; ^ /"),
        ("elsewhere", "a.example; = /p"),
        ("beside", "*; = /page"),
    ]);
    let lines = [("x-a", "2"), ("x-a", "3")];
    let asked = Asked::new("GET h /p?q=%32", &lines);
    asked.ask(|request| {
        assert_eq!(
            verdicts(&table.candidates(request), request),
            [
                "put: method PUT, saw `GET`",
                "header: header x-a: prefix `1`, saw `2`, `3`",
                "query: query q: `1`, saw `2`",
                "address: client address in 192.0.2.0/24, saw `10.0.0.1`",
                "any: any of 2 conditions, saw none of them holds",
                "certificate: client certificate subject: `CN=z`, saw `CN=a,O=b`",
                "claim: claim tier: `gold`, saw no verified token with it",
                "not: not what holds, saw it holds",
                "plain: serves",
                "prefix: after plain",
            ]
        );
        let why = |name| verdicts(&table.why_not(name, request), request);
        assert_eq!(why("elsewhere"), ["elsewhere: host a.example, saw `h`"]);
        assert_eq!(why("beside"), ["beside: path /page, saw `/p`"]);
        assert_eq!(why("plain"), ["plain: serves"]);
        assert!(why("nobody").is_empty());
        let near = verdicts(&table.near(request), request);
        assert_eq!(near, ["beside: path /page, saw `/p`"]);
    });
}

#[test]
fn credentials_are_not_shown() {
    let mut secret = rule("secret", "*; = /p");
    let name = http::header::AUTHORIZATION;
    let wanted = ValueMatch::Prefix("Basic ".to_owned());
    secret.conditions.headers.push((name, wanted));
    let table = RouteTable::build(vec![secret]);
    let asked = Asked::new("GET h /p", &[("authorization", "Bearer abc")]);
    asked.ask(|request| {
        let shown = verdicts(&table.candidates(request), request);
        assert_eq!(
            shown,
            ["secret: header authorization: prefix `Basic `, saw a hidden value"]
        );
    });
}

#[track_caller]
fn shadowed(rules: &[(&str, &str)], expected: &[(&str, &str)]) {
    let table = table(rules);
    let name = |at: usize| &*table.rules()[at].route.name;
    let shadows = table.shadows();
    let found: Vec<_> = shadows
        .iter()
        .map(|one| (name(one.rule), name(one.by)))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn rules_that_nobody_reaches() {
    shadowed(
        &[("a", "*; = /p; x-a"), ("b", "*; = /p; x-a:1")],
        &[("b", "a")],
    );
    shadowed(
        &[("a", "*; = /p; x-a:1*"), ("b", "*; = /p; x-a:12")],
        &[("b", "a")],
    );
    shadowed(
        &[("a", "*; = /p; x-a:/1.*/"), ("b", "*; = /p; x-a:12")],
        &[("b", "a")],
    );
    shadowed(
        &[
            ("a", "*; = /p; @10.0.0.0/8"),
            ("b", "*; = /p; @10.1.0.0/16"),
        ],
        &[("b", "a")],
    );
    shadowed(
        &[
            ("a", "*; = /p; GET; x-a"),
            ("b", "*; = /p; PUT; x-a"),
            ("c", "*; = /p; GET; PUT; x-a:1"),
        ],
        &[("c", "a")],
    );
    // Prefixes go before regular expressions.
    shadowed(&[("a", "*; ^ /"), ("b", "*; % /x.*")], &[("b", "a")]);
    shadowed(
        &[
            ("a", "*; ^ /v1"),
            ("b", "*; % /v1/(a|b)"),
            ("c", "*; % /v1.*"),
        ],
        &[("b", "a")],
    );
}

#[test]
fn rules_that_somebody_may_reach() {
    for rules in [
        &[("a", "*; = /p; x-a:1"), ("b", "*; = /p; x-a")][..],
        &[("a", "*; = /p; x-a"), ("b", "*; = /p; x-b:1")],
        &[
            ("a", "*; = /p; GET; x-a"),
            ("b", "*; = /p; GET; PUT; x-a:1"),
        ],
        &[
            ("a", "*; = /p; @10.1.0.0/16"),
            ("b", "*; = /p; @10.0.0.0/8"),
        ],
        &[("a", "*; = /p; x-a:1*"), ("b", "*; = /p; x-a:/1.*/")],
        &[("a", "a.example; ^ /"), ("b", "*; % /x.*")],
        &[("a", "*; ^ /; GET"), ("b", "*; % /x.*")],
        &[("a", "*; ^ /v1/users"), ("b", "*; % /v1/u.*")],
        &[("a", "*; = /p; !x-a"), ("b", "*; = /p; !x-b")],
        &[("a", "*; = /p"), ("b", "*; ^ /p")],
    ] {
        shadowed(rules, &[]);
    }
}
