//! Precedence, by table.

mod reference;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::model::Origin;

fn route(name: &str) -> Arc<Route> {
    let origin = Origin {
        file: "test.yaml".into(),
        line: 1,
    };
    Arc::new(Route::tombstone(name.into(), origin))
}

/// `= /exact`, `^ /prefix` or `~ /tem/{plate}`.
fn path(text: &str) -> PathMatch {
    match text.split_once(' ').unwrap() {
        ("=", path) => PathMatch::Exact(path.to_owned()),
        ("^", path) => PathMatch::Prefix(path.to_owned()),
        (_, path) => PathMatch::Template(
            path.split('/')
                .skip(1)
                .map(|part| match part.strip_prefix('{') {
                    Some(name) => Segment::Capture(name.trim_end_matches('}').to_owned()),
                    None => Segment::Literal(part.to_owned()),
                })
                .collect(),
        ),
    }
}

fn host(text: &str) -> HostMatch {
    match text.strip_prefix('*') {
        Some("") => HostMatch::Any,
        Some(suffix) => HostMatch::Wildcard(suffix.to_owned()),
        None => HostMatch::Exact(text.to_owned()),
    }
}

/// A rule called `name`: host, path, then `GET`, `x-a` or `x-a:v`, `?q` or `?q=v`.
fn rule(name: &str, text: &str) -> Rule {
    let mut words = text.split("; ");
    let hosts = vec![host(words.next().unwrap())];
    let path = path(words.next().unwrap());
    let mut conditions = Conditions::default();
    let value =
        |text: Option<&str>| text.map_or(ValueMatch::Present, |v| ValueMatch::Exact(v.to_owned()));
    for word in words {
        if let Some(query) = word.strip_prefix('?') {
            let (name, wanted) = query
                .split_once('=')
                .map_or((query, None), |(n, v)| (n, Some(v)));
            conditions.query.push((name.to_owned(), value(wanted)));
        } else if word.starts_with("x-") {
            let (name, wanted) = word
                .split_once(':')
                .map_or((word, None), |(n, v)| (n, Some(v)));
            conditions.headers.push((
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value(wanted),
            ));
        } else {
            conditions.methods.push(word.parse().unwrap());
        }
    }
    Rule {
        hosts,
        path,
        conditions,
        route: route(name),
    }
}

/// `METHOD host path?query` and header lines.
type Headers<'a> = &'a [(&'a str, &'a str)];

#[derive(Debug)]
struct Asked {
    method: Method,
    host: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Asked {
    fn new(text: &str, headers: &[(&str, &str)]) -> Self {
        let mut words = text.split(' ');
        let method = words.next().unwrap().parse().unwrap();
        let host = words.next().unwrap().to_owned();
        let target = words.next().unwrap();
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(p, q)| (p, Some(q.to_owned())));
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        Self {
            method,
            host,
            path: path.to_owned(),
            query,
            headers: headers.collect(),
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: &self.method,
            headers: &self.headers,
        }
    }
}

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
                outcome(table.select(asked.request())),
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
