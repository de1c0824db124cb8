//! What an explanation looks like to people, and what it never shows.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::{Question, explain, text};
use crate::request_ctx::Now;
use crate::snapshot::Snapshot;

const POLICY: &str = r#"version: 1
clusters:
  - { name: orders, endpoints: ["127.0.0.1:8081"], protocol: http2 }
issuers:
  - name: main
    issuer: https://id.example
    audiences: [orders]
    jwks: { url: "https://id.example/jwks.json" }
    algorithms: [EdDSA]
limits:
  - { name: few, key: client_address, rate: 10/m, burst: 20 }
  - { name: per-key, key: { header: x-key }, rate: 1/s, burst: 5 }
access:
  - { name: in-house, client_addresses: [10.0.0.0/8], mode: shadow }
routes:
  - name: orders
    matches: [{ path: { prefix: /orders } }]
    limits: [few, per-key]
    cache: { default_ttl: 30s }
    request_headers: { set: { x-edge: palisade } }
    response_headers: { remove: [server] }
    cluster: orders
  - name: orders-write
    matches: [{ path: { prefix: /orders }, methods: [POST] }]
    auth: { issuer: main, scopes: [orders:write], claim_headers: { sub: x-user-id } }
    access: [in-house]
    request_body_max: 64KiB
    cluster: orders
"#;

fn snapshot() -> Snapshot {
    crate::crypto::install();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.yaml"), POLICY).unwrap();
    let loaded = palisade_policy::load(folder.path());
    let loaded = loaded.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    Snapshot::offline(Arc::new(loaded.policy), None, Now::monotonic()).unwrap()
}

fn question(method: &str, url: &str, headers: &[(&str, &str)]) -> Question {
    let headers = headers.iter();
    Question {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        client: Some("192.0.2.7".parse().unwrap()),
        request_id: Some("0123456789abcdef0123456789abcdef".to_owned()),
        ..Question::default()
    }
}

fn shown(question: &Question) -> String {
    let explanation = explain(&snapshot(), question, false).unwrap();
    let text = anstream::adapter::strip_str(&text(&explanation)).to_string();
    // Programs get the same.
    let json = serde_json::to_string(&explanation).unwrap();
    assert!(serde_json::from_str::<super::Explanation>(&json).is_ok());
    text
}

/// Compared with files, which `UPDATE_CASES=1` writes anew.
#[test]
fn texts() {
    let fields = [("x-key", "hush"), ("x-user-id", "root"), ("server", "x")];
    let get = question("GET", "https://shop.example/orders//%37?open=1", &fields);
    let nobody = question("POST", "https://shop.example/orders", &[]);
    let mut writer = question(
        "POST",
        "https://shop.example/orders",
        &[("content-length", "5")],
    );
    writer.claims = json!({ "sub": "u1", "scope": "orders:write" })
        .as_object()
        .cloned();
    let plain = question("GET", "http://shop.example/orders", &[]);
    let dots = question("GET", "https://shop.example/orders/../x", &[]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/explain/tests");
    let mut wrong = Vec::new();
    for (name, question) in [
        ("goes_on", get),
        ("needs_a_token", nobody),
        ("shadow", writer),
        ("plain_text", plain),
        ("malformed", dots),
    ] {
        let (file, actual) = (folder.join(format!("{name}.txt")), shown(&question));
        if std::env::var_os("UPDATE_CASES").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &actual).unwrap();
        }
        if std::fs::read_to_string(&file).unwrap_or_default() != actual {
            wrong.push(format!("{name}\n{actual}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn credentials_are_not_shown() {
    let fields = [
        ("authorization", "Bearer hush-token"),
        ("cookie", "hush-cookie"),
        ("x-key", "hush-key"),
    ];
    for (method, url) in [
        ("GET", "https://shop.example/orders"),
        ("POST", "https://shop.example/orders"),
        ("GET", "https://shop.example/"),
    ] {
        let mut question = question(method, url, &fields);
        question.claims = json!({ "sub": "u1", "mail": "hush-mail" })
            .as_object()
            .cloned();
        let explanation = explain(&snapshot(), &question, true).unwrap();
        let json = serde_json::to_string(&explanation).unwrap();
        let texts = [text(&explanation), json, format!("{question:?}")];
        for text in texts {
            assert!(!text.contains("hush"), "{text}");
        }
    }
}

#[test]
fn a_route_that_came_nowhere_near_is_asked_after() {
    let mut asked = question("GET", "https://elsewhere.example/nothing", &[]);
    asked.of_route = Some("orders".to_owned());
    let explanation = explain(&snapshot(), &asked, false).unwrap();
    assert!(!explanation.candidates.is_empty());
    for candidate in &explanation.candidates {
        assert_eq!(candidate.route, "orders");
        let why = candidate.lost.as_deref().unwrap();
        assert!(why.starts_with("wants "), "{why}");
    }
}

#[test]
fn what_is_no_request_is_said() {
    let snapshot = snapshot();
    let wrong = |change: fn(&mut Question)| {
        let mut question = question("GET", "https://shop.example/", &[]);
        change(&mut question);
        explain(&snapshot, &question, false)
            .unwrap_err()
            .to_string()
    };
    let first = |text: String| text.lines().next().unwrap_or("").to_owned();
    for (change, expected) in [
        (
            (|it| it.method = "G T".to_owned()) as fn(&mut Question),
            "`G T` is not a method",
        ),
        (
            |it| it.url = "/orders".to_owned(),
            "`/orders` is not the URL of a request",
        ),
        (
            |it| it.url = "ftp://a/".to_owned(),
            "`ftp://a/` is not the URL of a request",
        ),
        (
            |it| it.url = "https:///x".to_owned(),
            "`https:///x` is not the URL of a request",
        ),
        (
            |it| it.url = "https://u@a/".to_owned(),
            "`https://u@a/` is not the URL of a request",
        ),
        (
            |it| it.headers = vec![("a b".to_owned(), String::new())],
            "`a b` is not a header field",
        ),
        (
            |it| it.request_id = Some("x".to_owned()),
            "`x` is not a request id",
        ),
        (
            |it| it.claims = json!({ "iss": 7 }).as_object().cloned(),
            "the claims are not those of a token: claim `iss` is invalid",
        ),
        (
            |it| {
                it.certificate = Some(super::Certificate {
                    sha256: Some("ab".to_owned()),
                    ..Default::default()
                })
            },
            "`ab` is not a SHA-256",
        ),
        (
            |it| it.of_route = Some("nobody".to_owned()),
            "no route is called `nobody`",
        ),
    ] {
        assert_eq!(first(wrong(change)), expected);
    }
}
