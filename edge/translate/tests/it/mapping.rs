//! What the tables of `tests/conformance` do not say of requests as JSON.

use palisade_translate::{JsonOptions, Options};

use crate::client::{Client, request};
use crate::upstream::{Script, Upstream};

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
async fn queries_are_bounded() {
    let upstream = Upstream::start(Script::Echo(Default::default())).await;
    let mut client = Client::connect(&upstream, omitting_defaults());
    let deep = format!("inner{}.count", ".next".repeat(40));
    for (query, expected) in [
        (
            format!("{deep}=1"),
            format!("400 invalid_query: query parameter `{deep}`: more than `32` steps"),
        ),
        (
            "tags=a&".repeat(129),
            "400 invalid_query: more than `128` query parameters".to_owned(),
        ),
    ] {
        let uri = format!("/v1/things?{query}");
        let answer = client.send(request("GET", &uri, "")).await;
        assert_eq!(answer.summary(), expected);
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test]
async fn the_path_has_the_last_word_within_the_body() {
    let upstream = Upstream::start(Script::Echo(Default::default())).await;
    let mut client = Client::connect(&upstream, omitting_defaults());
    let body = r#"{"name":"m","count":1}"#;
    let patch = request("PATCH", "/v1/things/n/inner", body);
    let expected = r#"200 {"inner":{"name":"n","count":1}}"#;
    assert_eq!(client.send(patch).await.summary(), expected);
}

#[tokio::test]
async fn bodies_that_attack_the_parser() {
    let upstream = Upstream::start(Script::Echo(Default::default())).await;
    let mut client = Client::connect(&upstream, omitting_defaults());
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
async fn defaults_are_emitted_unless_told_otherwise() {
    let upstream = Upstream::start(Script::Echo(Default::default())).await;
    let mut client = Client::connect(&upstream, Options::default());
    let json = client.send(request("GET", "/v1/things/7", "")).await.json();
    assert_eq!(json["i64"], "0");
    assert_eq!(json["colour"], "COLOUR_UNSPECIFIED");
    assert_eq!(json["tags"], serde_json::json!([]));
    for absent in ["maybe", "inner", "left", "at", "text"] {
        assert!(json.get(absent).is_none(), "{absent}");
    }
}
