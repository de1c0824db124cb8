//! What a request becomes: each case goes through JSON, protobuf, a real call and back.

use palisade_translate::{JsonOptions, Options};

use crate::client::{Client, request};
use crate::upstream::{Script, Upstream};

/// Runs a case file: `METHOD URI [BODY]` on one line and the expected summary, indented, on the
/// next. Returns how many calls reached the upstream.
async fn check(options: Options, cases: &str) -> usize {
    let upstream = Upstream::start(Script::Echo(Default::default())).await;
    let mut client = Client::connect(&upstream, options.clone()).await;
    let mut lines = cases
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut failures = Vec::new();
    let mut ran = 0;
    while let Some(line) = lines.next() {
        let expected = lines.next().unwrap();
        assert!(expected.starts_with("  "), "{line}: no expected answer");
        let mut words = line.splitn(3, ' ');
        let (method, uri) = (words.next().unwrap(), words.next().unwrap());
        let body = words.next().unwrap_or_default();
        let answer = client.send(request(method, uri, body)).await;
        if answer.summary() != expected.trim_start() {
            failures.push(format!("{line}\n  {}", answer.summary()));
        }
        if answer.header("connection") == Some("close") {
            client = Client::connect(&upstream, options.clone()).await;
        }
        ran += 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(ran > 0);
    upstream.calls()
}

fn omitting_defaults() -> Options {
    Options {
        json: JsonOptions {
            write_defaults: false,
            ..JsonOptions::default()
        },
        ..Options::default()
    }
}

#[tokio::test]
async fn paths() {
    check(omitting_defaults(), include_str!("../cases/paths.case")).await;
}

#[tokio::test]
async fn query_parameters() {
    check(omitting_defaults(), include_str!("../cases/query.case")).await;
}

#[tokio::test]
async fn refused_query_parameters() {
    let cases = include_str!("../cases/refused_query.case");
    assert_eq!(check(omitting_defaults(), cases).await, 0);

    let deep = format!("inner{}.count", ".next".repeat(40));
    let many = "tags=a&".repeat(129);
    let cases = format!(
        "GET /v1/things?{deep}=1\n  400 invalid_query: query parameter `{deep}`: more than `32` steps\n\
         GET /v1/things?{many}\n  400 invalid_query: more than `128` query parameters\n"
    );
    assert_eq!(check(omitting_defaults(), &cases).await, 0);
}

#[tokio::test]
async fn bodies() {
    check(omitting_defaults(), include_str!("../cases/bodies.case")).await;
}

#[tokio::test]
async fn refused_bodies() {
    let cases = include_str!("../cases/refused_bodies.case");
    assert_eq!(check(omitting_defaults(), cases).await, 0);
}

#[tokio::test]
async fn bodies_that_attack_the_parser() {
    let upstream = Upstream::start(Script::Echo(Default::default())).await;
    let mut client = Client::connect(&upstream, omitting_defaults()).await;
    let nested = format!("{}{}", r#"{"next":"#.repeat(200), "}".repeat(200));
    let struct_value = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for (uri, body) in [("/v1/f/inner", nested), ("/v1/f/value", struct_value)] {
        let answer = client.send(request("PUT", uri, &body)).await;
        let summary = answer.summary();
        assert!(
            summary.contains("is more than `100` levels deep"),
            "{summary}"
        );
    }
    let long = format!(r#"{{"{}":1}}"#, "é".repeat(5000));
    let answer = client.send(request("POST", "/v1/things", &long)).await;
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.len() < 1100 && detail.contains("é…`: message"),
        "{detail}"
    );
    let lines = "{\n\"nope\":1}";
    let answer = client.send(request("POST", "/v1/things", lines)).await;
    let expected = "`nope`: message `test.v1.Thing` has no such field at line 2 column 6";
    assert!(answer.summary().ends_with(expected), "{}", answer.summary());
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test]
async fn unknown_names_can_be_ignored() {
    let mut options = omitting_defaults();
    options.json.ignore_unknown_fields = true;
    check(options, include_str!("../cases/ignore_unknown.case")).await;
}

#[tokio::test]
async fn defaults_are_emitted_unless_told_otherwise() {
    check(Options::default(), include_str!("../cases/defaults.case")).await;

    let upstream = Upstream::start(Script::Echo(Default::default())).await;
    let mut client = Client::connect(&upstream, Options::default()).await;
    let json = client.send(request("GET", "/v1/things/7", "")).await.json();
    assert_eq!(json["i64"], "0");
    assert_eq!(json["colour"], "COLOUR_UNSPECIFIED");
    assert_eq!(json["tags"], serde_json::json!([]));
    for absent in ["maybe", "inner", "left", "at", "text"] {
        assert!(json.get(absent).is_none(), "{absent}");
    }
}
