//! Connect with one message each way: `POST` and `GET`, JSON and protobuf, compressed or not.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use palisade_echo::proto::{EchoRequest, EchoResponse};
use prost::Message;
use serde_json::json;

use super::{Client, SERVICE, connect_streams, frame, full, post, with};
use crate::packing::{brotli, gzip, zstd};
use crate::upstream::{Script, Upstream, headers};

const JSON: &str = "application/json";
const PROTO: &str = "application/proto";
const VERSION: (&str, &str) = ("connect-protocol-version", "1");

fn said(text: &str) -> EchoRequest {
    EchoRequest {
        text: text.to_owned(),
        ..EchoRequest::default()
    }
}

#[tokio::test]
async fn json_and_protobuf() {
    let mut client = Client::of_echo().await;
    // JSON at the path of an RPC needs no header to be Connect.
    for version in [&[VERSION][..], &[]] {
        let request = with(post("Echo", JSON, r#"{"text":"a","number":"7"}"#), version);
        let answer = client.send(request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some(JSON));
        let said = &answer.json()["said"];
        assert_eq!((&said["text"], &said["number"]), (&json!("a"), &json!("7")));
    }
    for text in ["b", ""] {
        let request = post("Echo", PROTO, said(text).encode_to_vec());
        let answer = client.send(with(request, &[VERSION])).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some(PROTO));
        let response = EchoResponse::decode(answer.body).unwrap();
        assert_eq!(response.said, Some(said(text)));
    }
}

fn get(query: &str) -> http::Request<super::Body> {
    let mut request = post(&format!("{SERVICE}/Look?{query}"), JSON, "");
    *request.method_mut() = Method::GET;
    request.headers_mut().remove("content-type");
    request
}

#[tokio::test]
async fn get_by_query() {
    let mut client = Client::of_echo().await;
    let proto = BASE64_URL_SAFE_NO_PAD.encode(said("é?").encode_to_vec());
    let zipped = BASE64_URL_SAFE_NO_PAD.encode(gzip(&said("é?").encode_to_vec()));
    for (query, is_json) in [
        (
            "connect=v1&encoding=json&message=%7B%22text%22%3A%22%C3%A9?%22%7D".to_owned(),
            true,
        ),
        (
            "message=%7B%22text%22:+%22%C3%A9%3F%22%7D&encoding=json&connect=v1".to_owned(),
            true,
        ),
        (
            format!("connect=v1&encoding=proto&base64=1&message={proto}"),
            false,
        ),
        (
            format!("connect=v1&encoding=proto&base64=1&message={proto}%3D"),
            false,
        ),
        (
            format!("connect=v1&encoding=proto&base64=1&compression=gzip&message={zipped}"),
            false,
        ),
        (
            "connect=v1&encoding=proto&message=%0A%03%C3%A9%3F".to_owned(),
            false,
        ),
    ] {
        let answer = client.send(get(&query)).await;
        assert_eq!(answer.status, 200, "{query}");
        let text = if is_json {
            answer.json()["said"]["text"].as_str().unwrap().to_owned()
        } else {
            EchoResponse::decode(answer.body)
                .unwrap()
                .said
                .unwrap()
                .text
        };
        assert_eq!(text, "é?", "{query}");
    }
}

#[tokio::test]
async fn compressed_requests() {
    let mut client = Client::of_echo().await;
    let json = br#"{"text":"a"}"#;
    for (coding, body) in [
        ("identity", json.to_vec()),
        ("gzip", gzip(json)),
        ("GZIP", gzip(json)),
        ("br", brotli(json)),
        ("zstd", zstd(json)),
    ] {
        let headers = [VERSION, ("content-encoding", coding)];
        let answer = client.send(with(post("Echo", JSON, body), &headers)).await;
        assert_eq!(answer.status, 200, "{coding}");
        assert_eq!(answer.json()["said"]["text"], "a", "{coding}");
    }
}

#[tokio::test]
async fn metadata() {
    let mut client = Client::of_echo().await;
    let body = r#"{"answerMetadata":{"x-service-tag":"t","x-service-bin":"AAE"}}"#;
    let headers = [
        VERSION,
        ("connect-timeout-ms", "60000"),
        ("accept-encoding", "gzip"),
        ("x-mine", "1"),
        ("x-mine-bin", "AAE="),
    ];
    let answer = client.send(with(post("Echo", JSON, body), &headers)).await;
    assert_eq!(answer.header("x-service-tag"), Some("t"));
    assert_eq!(answer.header("x-service-bin"), Some("AAE"));
    let json = answer.json();
    let seen = &json["metadata"];
    assert_eq!(seen["x-mine"], "1");
    assert_eq!(seen["x-mine-bin"], "AAE");
    assert_eq!(seen["grpc-timeout"], "60000m");
    for dropped in [
        "connect-protocol-version",
        "connect-timeout-ms",
        "accept-encoding",
    ] {
        assert!(seen.get(dropped).is_none(), "{dropped}");
    }
}

#[tokio::test]
async fn the_smallest_deadline_wins() {
    let mut client = Client::of_echo().await;
    for (connect, grpc, expected) in [
        ("500", "10S", "500m"),
        ("20000", "10S", "10S"),
        ("9999999999", "99999999S", "9999999S"),
        ("100000000", "bad", "100000S"),
    ] {
        let headers = [
            VERSION,
            ("connect-timeout-ms", connect),
            ("grpc-timeout", grpc),
        ];
        let answer = client.send(with(post("Echo", JSON, "{}"), &headers)).await;
        assert_eq!(
            answer.json()["metadata"]["grpc-timeout"],
            expected,
            "{connect}"
        );
    }
}

#[tokio::test]
async fn a_path_that_rest_has_bound_stays_with_rest() {
    let mut client = Client::of_echo().await;
    let mut request = post("/v1/echo", JSON, "{");
    assert_eq!(
        client.send(request).await.header("content-type"),
        Some("application/problem+json")
    );
    // Nor is JSON to a stream's path taken for one message.
    request = post("Count", JSON, "{}");
    assert_eq!(
        client.send(request).await.json()["code"],
        "binding_not_found"
    );
    request = post("Echo", "text/plain", "");
    *request.body_mut() = full("{}");
    assert_eq!(
        client.send(request).await.json()["code"],
        "binding_not_found"
    );
}

#[tokio::test]
async fn metadata_behind_a_message() {
    let trailers = headers(&[
        ("grpc-status", "0"),
        ("x-service-end", "1"),
        ("x-service-end", "2"),
    ]);
    let initial = headers(&[("x-service-tag", "t")]);
    let script = Script::Raw(initial.clone(), None, Some(trailers));
    let upstream = Upstream::start(script).await;
    let mut client = Client::of(&upstream);
    let answer = client
        .send(post("/test.v1.Things/Unbound", PROTO, ""))
        .await;
    assert_eq!(answer.header("x-service-tag"), Some("t"));
    let end: Vec<_> = answer
        .headers
        .get_all("trailer-x-service-end")
        .iter()
        .collect();
    assert_eq!(end, ["1", "2"]);
    let request = post(
        "/test.v1.Things/Watch",
        connect_streams::PROTO,
        frame(0, b""),
    );
    let (_, end) = connect_streams::read(&client.send(request).await.body);
    assert_eq!(end, json!({"metadata": {"x-service-end": ["1", "2"]}}));

    let failed = headers(&[("grpc-status", "5"), ("x-service-end", "1")]);
    let upstream = Upstream::start(Script::Raw(initial, None, Some(failed))).await;
    let mut client = Client::of(&upstream);
    let answer = client
        .send(post("/test.v1.Things/Unbound", PROTO, ""))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (404, json!({"code": "not_found"}))
    );
    assert_eq!(answer.header("x-service-tag"), Some("t"));
    assert_eq!(answer.header("trailer-x-service-end"), Some("1"));
}
