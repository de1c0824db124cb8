//! Text as an expression of an access rule: it is refused with a place, or decided for any request
//! in a bounded number of steps, and in the same way each time.

use http::{HeaderMap, HeaderName, HeaderValue};
use palisade_policy::expression::{Expression, Facts};
use serde_json::json;

pub(crate) fn check(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else {
        return;
    };
    let expression = match Expression::compile(source) {
        Ok(expression) => expression,
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                // What is said where the parser panicked.
                assert_ne!(problem.message, "the expression cannot be read");
                assert!(problem.at.start <= problem.at.end, "{problem:?}");
                assert!(source.get(problem.at.clone()).is_some(), "{problem:?}");
            }
            return;
        }
    };
    let mut headers = HeaderMap::new();
    for value in ["a", "b, c"] {
        headers.append(
            HeaderName::from_static("x-a"),
            HeaderValue::from_static(value),
        );
    }
    let claims = json!({ "tenant": "acme", "age": 41, "groups": ["a", "b"], "org": { "id": "1" }, "many": vec![1; 300] });
    let words = ["read".to_owned(), "write".to_owned()];
    for claims in [claims.as_object(), None] {
        let facts = Facts {
            method: "GET",
            path: "/t/acme/orders",
            host: "api.example",
            scheme: "https",
            query: Some("a=1&b=%20&c"),
            headers: &headers,
            client: "192.0.2.1".parse().expect("an address"),
            claims,
            subject: claims.map(|_| "u1"),
            scopes: &words,
            roles: &[],
            captures: &[("tenant", "acme")],
            now: 1_763_736_616,
        };
        let first = expression.holds(&facts);
        assert_eq!(expression.holds(&facts), first, "{source}");
    }
}
