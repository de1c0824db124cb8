//! Precedence, by table.

mod notation;
mod reference;
mod why;

use std::cell::Cell;

use super::*;
use notation::{Asked, Headers, path, rule};

fn outcome(selected: Selected<'_>) -> String {
    match selected {
        Selected::Rule(rule) => rule.route.name.to_string(),
        Selected::MethodNotAllowed(methods) => format!(
            "405 {}",
            methods
                .iter()
                .map(Method::as_str)
                .collect::<Vec<_>>()
                .join(",")
        ),
        Selected::NotFound => "404".to_owned(),
    }
}

#[track_caller]
fn check(rules: &[(&str, &str)], requests: &[(&str, Headers<'_>, &str)]) {
    let mut rules: Vec<Rule> = rules.iter().map(|(name, text)| rule(name, text)).collect();
    for _ in 0..2 {
        let table = RouteTable::build(rules.clone());
        for (request, headers, expected) in requests {
            let asked = Asked::new(request, headers);
            assert_eq!(
                asked.ask(|request| outcome(table.select(request))),
                *expected,
                "{request} {headers:?}"
            );
        }
        // The order of the files makes no difference.
        rules.reverse();
    }
}

#[test]
fn hosts_by_precedence() {
    check(
        &[
            ("any", "*; ^ /"),
            ("sub", "*.example.com; ^ /"),
            ("subsub", "*.eu.example.com; ^ /a"),
            ("exact", "api.example.com; = /a"),
        ],
        &[
            ("GET api.example.com /a", &[], "exact"),
            ("GET api.example.com /b", &[], "sub"),
            ("GET x.eu.example.com /a", &[], "subsub"),
            ("GET x.eu.example.com /b", &[], "sub"),
            ("GET y.x.eu.example.com /a/b", &[], "subsub"),
            ("GET example.com /a", &[], "any"),
            ("GET .example.com /a", &[], "any"),
            ("GET notexample.com /a", &[], "any"),
            ("GET [::1] /a", &[], "any"),
        ],
    );
}

#[test]
fn paths_by_precedence() {
    check(
        &[
            ("root", "*; ^ /"),
            ("v1", "*; ^ /v1"),
            ("v1-users", "*; ^ /v1/users"),
            ("user", "*; ~ /v1/users/{id}"),
            ("me", "*; = /v1/users/me"),
            ("left", "*; ~ /t/a/{x}"),
            ("right", "*; ~ /t/{x}/a"),
            ("both", "*; ~ /t/{x}/{y}"),
        ],
        &[
            ("GET h /v1/users/me", &[], "me"),
            ("GET h /v1/users/me/", &[], "v1-users"),
            ("GET h /v1/users/7", &[], "user"),
            ("GET h /v1/users/", &[], "v1-users"),
            ("GET h /v1/users/7/posts", &[], "v1-users"),
            ("GET h /v1", &[], "v1"),
            ("GET h /v1/", &[], "v1"),
            ("GET h /v10", &[], "root"),
            ("GET h /", &[], "root"),
            ("GET h /t/a/a", &[], "left"),
            ("GET h /t/b/a", &[], "right"),
            ("GET h /t/b/b", &[], "both"),
            ("GET h /t//a", &[], "root"),
        ],
    );
}

#[test]
fn conditions_by_precedence() {
    check(
        &[
            ("plain", "*; = /p"),
            ("get", "*; = /p; GET"),
            ("one-header", "*; = /p; x-a"),
            ("two-headers", "*; = /p; x-a:1; x-b:2"),
            ("query", "*; = /p; ?v=2"),
            ("a-tie", "*; = /tie; GET"),
            ("b-tie", "*; = /tie; GET; "),
        ]
        .map(|(name, text)| (name, text.trim_end_matches("; "))),
        &[
            ("POST h /p", &[], "plain"),
            ("GET h /p", &[("x-a", "1"), ("x-b", "2")], "get"),
            ("POST h /p", &[("x-a", "9")], "one-header"),
            ("POST h /p", &[("x-a", "1"), ("x-b", "2")], "two-headers"),
            ("POST h /p", &[("x-a", "1"), ("x-b", "3")], "one-header"),
            (
                "POST h /p",
                &[("x-a", "0"), ("x-a", "1"), ("x-b", "2")],
                "two-headers",
            ),
            ("POST h /p?v=2", &[], "query"),
            ("POST h /p?v=%32&w", &[], "query"),
            ("POST h /p?%76=2", &[], "query"),
            ("POST h /p?v=3", &[], "plain"),
            ("POST h /p?v=2", &[("x-a", "1")], "one-header"),
            ("GET h /tie", &[], "a-tie"),
        ],
    );
}

#[test]
fn methods_that_are_not_served() {
    check(
        &[
            ("get", "*; = /p; GET; PUT"),
            ("delete", "a.example; = /p; DELETE"),
            ("beta", "*; = /p; POST; x-beta"),
            ("tree", "*; ^ /tree; GET"),
        ],
        &[
            ("POST h /p", &[], "405 GET,PUT"),
            ("POST a.example /p", &[], "405 DELETE,GET,PUT"),
            ("PATCH h /p", &[("x-beta", "")], "405 GET,POST,PUT"),
            ("POST h /tree/x", &[], "405 GET"),
            ("POST h /q", &[], "404"),
        ],
    );
}

#[test]
fn every_route_and_rule_is_listed_once() {
    let shared = rule("a", "*; = /1");
    let again = Rule {
        path: path("= /2"),
        ..shared.clone()
    };
    let table = RouteTable::build(vec![shared, rule("b", "*; = /1"), again]);
    let names: Vec<_> = table.routes().map(|route| route.name.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(table.rules().len(), 3);
}

#[test]
fn regular_expressions_come_last() {
    check(
        &[
            ("exact", "*; = /v1/a"),
            ("template", "*; ~ /v1/{x}/y"),
            ("prefix", "*; ^ /v1"),
            ("long", "*; % /v[0-9]+/[a-z]+"),
            ("short", "*; % /v.*"),
            ("b-same", "*; % /same/."),
            ("a-same", "*; % /same/.; GET"),
            ("host", "a.example; % .*"),
        ],
        &[
            ("GET h /v1/a", &[], "exact"),
            ("GET h /v1/b/y", &[], "template"),
            ("GET h /v1/b", &[], "prefix"),
            ("GET h /v2/b", &[], "long"),
            ("GET h /v2/b/", &[], "short"),
            ("GET h /same/1", &[], "a-same"),
            ("PUT h /same/1", &[], "b-same"),
            ("GET h /same/12", &[], "404"),
            ("GET h /x/v1", &[], "404"),
            ("GET a.example /v1/a", &[], "host"),
            ("OPTIONS a.example *", &[], "404"),
        ],
    );
}

#[test]
fn values_by_their_kind() {
    check(
        &[
            ("prefix", "*; = /p; x-a:ab*"),
            ("suffix", "*; = /s; x-a:*yz"),
            ("regex", "*; = /r; x-a:/[0-9]+/"),
            ("query", "*; = /q; ?v=/a%?b%/"),
        ],
        &[
            ("GET h /p", &[("x-a", "abc")], "prefix"),
            ("GET h /p", &[("x-a", "xab")], "404"),
            ("GET h /p", &[("x-a", "x"), ("x-a", "ab")], "prefix"),
            ("GET h /s", &[("x-a", "xyz")], "suffix"),
            ("GET h /s", &[("x-a", "yzx")], "404"),
            ("GET h /r", &[("x-a", "12")], "regex"),
            ("GET h /r", &[("x-a", "12a")], "404"),
            ("GET h /r", &[], "404"),
            ("GET h /q?v=ab%25", &[], "query"),
            ("GET h /q?v=x&%76=%61%25b%25", &[], "query"),
            ("GET h /q?v=b", &[], "404"),
        ],
    );
}

#[test]
fn other_conditions_by_precedence() {
    check(
        &[
            ("a-plain", "*; = /p"),
            ("b-address", "*; = /p; @10.0.0.0/8"),
            ("c-two", "*; = /p; @10.0.0.0/8; #tier=gold"),
            ("d-query", "*; = /p; ?q"),
            ("certificate", "*; = /c; $CN=a,*"),
            ("other-certificate", "*; = /c; $CN=z"),
            ("list", "*; = /l; #groups=admin"),
            ("not", "*; = /n; !x-a"),
            ("any", "*; = /any; x-a|?q|PUT"),
            ("all", "*; = /all; x-a&!@10.0.0.1/32"),
        ],
        &[
            ("GET h /p", &[], "b-address"),
            ("GET h /p", &[("client", "192.0.2.1")], "a-plain"),
            ("GET h /p", &[("client", "::ffff:10.9.9.9")], "b-address"),
            ("GET h /p", &[("claim:tier", "\"gold\"")], "c-two"),
            ("GET h /p", &[("claim:tier", "\"tin\"")], "b-address"),
            ("GET h /p?q", &[("claim:tier", "\"gold\"")], "d-query"),
            ("GET h /c", &[], "certificate"),
            (
                "GET h /l",
                &[("claim:groups", r#"["dev", "admin"]"#)],
                "list",
            ),
            ("GET h /l", &[("claim:groups", r#"["dev"]"#)], "404"),
            ("GET h /n", &[], "not"),
            ("GET h /n", &[("x-a", "1")], "404"),
            ("GET h /any", &[("x-a", "1")], "any"),
            ("GET h /any?q", &[], "any"),
            ("PUT h /any", &[], "any"),
            // A method below the top is a condition as any other: no 405.
            ("GET h /any", &[], "404"),
            ("GET h /all", &[("x-a", "1")], "404"),
            ("GET h /all", &[("x-a", "1"), ("client", "10.0.0.2")], "all"),
        ],
    );
}

#[test]
fn a_token_is_verified_when_a_rule_asks_and_once() {
    let texts = [
        "*; = /p; #a=1",
        "*; = /p; #a=2; x-b",
        "*; = /p; #a=3",
        "*; = /q",
    ];
    let rules = texts.iter().map(|text| rule("r", text)).collect();
    let table = RouteTable::build(rules);
    for (path, expected) in [("/q", 0), ("/p", 1), ("/x", 0)] {
        let asked = Asked::new(&format!("GET h {path}"), &[]);
        let verified = Cell::new(0);
        asked.ask(|request| {
            let claims = |_: &Arc<Route>| {
                verified.set(verified.get() + 1);
                None
            };
            table.select(Request {
                claims: &claims,
                ..request
            });
        });
        assert_eq!(verified.get(), expected, "{path}");
    }
}

#[test]
fn long_paths_cost_no_more_than_the_longest_prefix() {
    let table = RouteTable::build(vec![rule("v1", "*; ^ /v1"), rule("root", "*; ^ /")]);
    for (path, expected) in [("/v1", "v1"), ("/v10", "root"), ("/v", "root")] {
        let path = format!("{path}{}", "/a".repeat(4_000));
        let asked = Asked::new(&format!("GET h {path}"), &[]);
        assert_eq!(
            asked.ask(|request| outcome(table.select(request))),
            expected
        );
    }
}
