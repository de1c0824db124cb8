//! Expressions against a request, and what is said of broken ones.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::*;

/// `true`, `false` or why neither.
fn judge(source: &str) -> String {
    let expression = Expression::compile(source).unwrap_or_else(|all| panic!("{source}: {all:?}"));
    let mut headers = HeaderMap::new();
    for (name, value) in [("host", "api.example"), ("x-a", "1"), ("x-a", "2")] {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    let claims = json!({
        "tenant": "acme", "admin": false, "age": 41, "ratio": 0.5, "nothing": null,
        "groups": ["staff", "eu"], "org": { "id": "o1" }, "many": vec![1; 300],
    });
    let scopes = ["orders:read".to_owned()];
    let roles = ["operator".to_owned()];
    let facts = Facts {
        method: "GET",
        path: "/t/acme/orders",
        host: "api.example",
        scheme: "https",
        query: Some("a=1&b=x%20y&twice=1"),
        headers: &headers,
        client: "192.0.2.7".parse().unwrap(),
        claims: claims.as_object(),
        subject: Some("u1"),
        scopes: &scopes,
        roles: &roles,
        captures: &[("tenant", "acme")],
        now: 1_763_736_616,
    };
    match expression.holds(&facts) {
        Ok(truth) => truth.to_string(),
        Err(undecided) => undecided.to_string(),
    }
}

/// Expression, and what comes of it.
const JUDGED: &[(&str, &str)] = &[
    ("true", "true"),
    ("request.method == 'GET'", "true"),
    ("request.method in ['POST', 'PUT']", "false"),
    (
        "request.path.startsWith('/t/' + claims.tenant + '/')",
        "true",
    ),
    ("request.path.matches('^/t/[a-z]+/orders$')", "true"),
    (
        "!request.path.matches('^/t/[a-z]+$') && request.host.matches('example$')",
        "true",
    ),
    (
        "request.scheme == 'https' && request.host.endsWith('.example')",
        "true",
    ),
    ("request.headers['x-a'] == '1, 2'", "true"),
    ("request.headers.host == 'api.example'", "true"),
    ("'x-b' in request.headers", "false"),
    ("has(request.headers.host) && !has(request.query.c)", "true"),
    ("request.query.b == 'x y'", "true"),
    ("client.address == '192.0.2.7'", "true"),
    ("claims.age >= 18 && claims.age < 100", "true"),
    ("claims.ratio > 0.25", "true"),
    ("claims.admin", "false"),
    ("claims.nothing == null", "true"),
    ("claims.org.id == 'o1'", "true"),
    ("'eu' in claims.groups", "true"),
    (
        "claims.groups.exists(group, group.startsWith('st'))",
        "true",
    ),
    ("claims.groups.all(group, group in ['staff'])", "false"),
    ("claims.groups.filter(g, g != 'eu').size() == 1", "true"),
    ("size(claims.groups) == 2", "true"),
    (
        "caller.subject == 'u1' && 'operator' in caller.roles",
        "true",
    ),
    ("caller.scopes.exists(s, s == 'orders:read')", "true"),
    ("has(caller.subject)", "true"),
    ("path.tenant == claims.tenant", "true"),
    ("has(path.tenant) && !has(path.order)", "true"),
    ("now > timestamp('2025-01-01T00:00:00Z')", "true"),
    ("now - duration('24h') < now", "true"),
    ("now.getHours('UTC') >= 0", "true"),
    (
        "claims.admin ? claims.tenant == 'x' : claims.age == 41",
        "true",
    ),
    // What cannot be decided is not true, not even behind a `!`.
    ("claims.missing == 1", "there is no `missing`"),
    ("!(claims.missing == 1)", "there is no `missing`"),
    (
        "claims.age.startsWith('4')",
        "`startsWith` does not take (int, string)",
    ),
    ("claims.tenant", "the result is not true or false"),
    ("claims.groups[7] == 'a'", "a list has fewer items"),
    ("claims.age / (claims.age - 41) == 1", "a division by zero"),
    ("int(claims.tenant) == 1", "`int` cannot read its argument"),
    ("claims.missing == 1 || true", "true"),
    // The value of a field is no word of the expression.
    ("claims[request.headers.host] == 1", "there is no such key"),
    (
        "claims.many.exists(x, x == 1)",
        "a loop would go over more than 256 items",
    ),
    ("claims.tenant == 'acme' && claims.many[0] == 1", "true"),
];

#[test]
fn requests_are_judged() {
    for (source, expected) in JUDGED {
        assert_eq!(judge(source), *expected, "{source}");
    }
}

#[test]
fn a_parameter_given_twice_is_undecided() {
    let expression = Expression::compile("request.query.a == '1'").unwrap();
    let headers = HeaderMap::new();
    let facts = |query| Facts {
        method: "GET",
        path: "/",
        host: "",
        scheme: "http",
        query: Some(query),
        headers: &headers,
        client: "::1".parse().unwrap(),
        claims: None,
        subject: None,
        scopes: &[],
        roles: &[],
        captures: &[],
        now: 0,
    };
    assert_eq!(expression.holds(&facts("a=1&b=2")), Ok(true));
    assert!(expression.holds(&facts("a=1&%61=2")).is_err());
    // Nobody asks.
    let other = Expression::compile("request.path == '/' && !has(claims.a)").unwrap();
    assert_eq!(other.holds(&facts("a=1&a=2")), Ok(true));
}

#[test]
fn nothing_is_deeper_than_a_stack() {
    for depth in [8, 15, 17, 31, 33, 300, 2_000] {
        let nest = |open: &str, inner: &str, close: &str| {
            format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
        };
        for source in [
            nest("(", "true", ")"),
            nest("!", "true", ""),
            nest("[", "1", "]"),
            nest("claims[", "1", "]"),
            nest("1+", "1 == 1", ""),
            nest("-", "1 == 1", ""),
            nest("{1:", "1", "}"),
            nest("true?true:", "true", ""),
            nest("size(", "claims", ")"),
            format!("claims{}", ".a".repeat(depth)),
            format!("claims{}", "[0]".repeat(depth)),
        ] {
            let compiled = Expression::compile(&source);
            if let Ok(expression) = &compiled {
                assert_eq!(expression.source(), source);
            }
            // Signs cancel each other out, and members are looked up in a row.
            let is_flat = ["!", "-", "."].iter().any(|flat| source.contains(flat));
            assert!(depth < 300 || compiled.is_err() || is_flat, "{source}");
        }
    }
}

const WORDS: [&str; 48] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "!",
    "-",
    "&&",
    "||",
    "==",
    "<",
    " in ",
    "?",
    ":",
    ",",
    ".",
    "claims",
    "request",
    ".path",
    ".matches(",
    "\"a\"",
    "'ä",
    "b\"\\xff\"",
    "1",
    "1u",
    "0x",
    "1e9",
    "9223372036854775808",
    "has(",
    ".exists(x, ",
    ".map(x,",
    "x",
    "size(",
    "timestamp(",
    "`a`",
    "\\",
    "\u{1f600}",
    "//",
    "\n",
    "now",
    "%",
    "null",
    "@",
    "r\"",
    "\"\"\"",
    "a.b{c: 1}",
    ".?a",
];

/// What the parser stumbles over has a place in the text, and is no panic of it.
#[test]
fn any_words_are_refused_with_a_place() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    for _ in 0..500 {
        let source: String = (0..=next(14)).map(|_| WORDS[next(WORDS.len())]).collect();
        for problem in Expression::compile(&source).err().unwrap_or_default() {
            assert_ne!(problem.message, "the expression cannot be read", "{source}");
            assert!(
                source.get(problem.at.clone()).is_some(),
                "{source}: {problem:?}"
            );
        }
    }
}

#[test]
fn what_loops_cost_is_bounded() {
    let body = |parts: usize| vec!["g == 'a'"; parts].join(" || ");
    let codes = |source: String| {
        let problems = Expression::compile(&source).err().unwrap_or_default();
        problems
            .iter()
            .map(|problem| problem.code)
            .collect::<Vec<_>>()
    };
    assert!(codes(format!("claims.groups.exists(g, {})", body(10))).is_empty());
    assert_eq!(
        codes(format!("claims.groups.exists(g, {})", body(20))),
        ["P093"]
    );
    let loops = ["claims.groups.exists(g, g == 'a')"; 10].join(" || ");
    assert_eq!(codes(loops), ["P093"]);
    assert_eq!(codes(body(100).replace('g', "request.path")), ["P093"]);
}
