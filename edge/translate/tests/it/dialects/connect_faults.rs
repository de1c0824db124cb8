//! Connect where something is wrong: heads, bodies, bombs, services, time, clients that leave.

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;

use super::connect_streams::{JSON as STREAM_JSON, PROTO as STREAM_PROTO, read};
use super::{Client, MESSAGE_BYTES_MAX, SERVICE, frame, pieces, post, with};
use crate::packing::{brotli, gzip, zstd};
use crate::upstream::{Script, Upstream, headers};

const JSON: &str = "application/json";
const PROTO: &str = "application/proto";
const VERSION: (&str, &str) = ("connect-protocol-version", "1");

const TIMEOUT: &str = "connect-timeout-ms";
const CODING: &str = "content-encoding";

/// A header, the body, the status, and what the message holds.
type Refused = ((&'static str, &'static str), Vec<u8>, u16, &'static str);

fn refused_protobuf() -> Vec<Refused> {
    let spaces = vec![b' '; 1024 * 1024];
    let long = vec![b' '; MESSAGE_BYTES_MAX + 1];
    let known = "`gzip, br, zstd`";
    let limit = "longer than `65536` bytes";
    vec![
        (
            ("connect-protocol-version", "2"),
            vec![],
            400,
            "must be `1`",
        ),
        ((TIMEOUT, "soon"), vec![], 400, "10 digits"),
        ((TIMEOUT, "12345678901"), vec![], 400, "10 digits"),
        ((TIMEOUT, ""), vec![], 400, "10 digits"),
        ((CODING, "snappy"), vec![], 501, known),
        ((CODING, "gzip, br"), vec![], 501, known),
        ((CODING, "gzip"), b"plain".to_vec(), 400, "not gzip"),
        ((CODING, "gzip"), gzip(&spaces), 429, limit),
        ((CODING, "br"), brotli(&spaces), 429, limit),
        ((CODING, "zstd"), zstd(&spaces), 429, limit),
        ((CODING, "gzip"), gzip(&long), 429, limit),
        (VERSION, long, 429, limit),
    ]
}

fn refused_json() -> Vec<Refused> {
    let rows: [(&[u8], u16, &str); 6] = [
        (b"", 400, "EOF"),
        (b"{\"text\":", 400, "EOF"),
        (b"{} {}", 400, "trailing"),
        (b"{\"nope\":1}", 400, "nope"),
        (&b"{\"inner\":".repeat(5_000), 400, "levels deep"),
        (
            &[b' '; MESSAGE_BYTES_MAX + 1],
            429,
            "longer than `65536` bytes",
        ),
    ];
    rows.map(|(body, status, holds)| (VERSION, body.to_vec(), status, holds))
        .into()
}

#[tokio::test]
async fn messages_that_are_refused_cost_no_call() {
    let mut client = Client::of_echo().await;
    let protobuf = refused_protobuf().into_iter().map(|row| (PROTO, row));
    let json = refused_json().into_iter().map(|row| (JSON, row));
    for (content_type, (header, body, status, holds)) in protobuf.chain(json) {
        let shown = format!("{header:?} {:?}", body.get(..20).unwrap_or(&body));
        let request = with(post("Echo", content_type, body), &[header]);
        let answer = client.send(request).await;
        assert_eq!(answer.status, status, "{shown}: {:?}", answer.body);
        assert_eq!(answer.header("content-type"), Some(JSON));
        let error = answer.json();
        let code = match status {
            400 => "invalid_argument",
            429 => "resource_exhausted",
            _ => "unimplemented",
        };
        assert_eq!(error["code"], code, "{shown}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(holds), "{shown}: {message}");
    }
    assert_eq!(client.echo.begun(), 0);
}

#[tokio::test]
async fn methods_and_types() {
    let mut client = Client::of_echo().await;
    let query = "connect=v1&encoding=json&message=%7B%7D";
    for (method, rpc, content_type, status, field, value) in [
        (Method::PUT, "Echo", PROTO, 405, "allow", "POST"),
        (Method::PUT, "Look", PROTO, 405, "allow", "GET, POST"),
        (Method::GET, "Echo", PROTO, 405, "allow", "POST"),
        (Method::GET, "Count", PROTO, 405, "allow", "POST"),
        (Method::PATCH, "Count", STREAM_PROTO, 405, "allow", "POST"),
        (
            Method::POST,
            "Count",
            PROTO,
            415,
            "accept-post",
            "application/connect+json, application/connect+proto",
        ),
        (
            Method::POST,
            "Echo",
            STREAM_PROTO,
            415,
            "accept-post",
            "application/json, application/proto",
        ),
    ] {
        let path = format!("{SERVICE}/{rpc}?{query}");
        let mut request = post(&path, content_type, "");
        *request.method_mut() = method;
        let answer = client.send(request).await;
        assert_eq!(answer.status, status, "{rpc}");
        assert_eq!(answer.header(field), Some(value), "{rpc}");
    }
    for content_type in [PROTO, STREAM_JSON] {
        let answer = client.send(post("Nope", content_type, "")).await;
        assert_eq!(answer.status, 404);
    }
    assert_eq!(client.echo.begun(), 0);
}

#[tokio::test]
async fn queries_that_are_refused() {
    let mut client = Client::of_echo().await;
    for (query, code, holds) in [
        ("", "invalid_argument", "`message`: is missing"),
        (
            "&message=a&message=b",
            "invalid_argument",
            "`message`: is given twice",
        ),
        ("&message=%zz", "invalid_argument", "hexadecimal"),
        (
            "&message=!!&base64=1",
            "invalid_argument",
            "is not base64 for urls",
        ),
        (
            "&message=+-%2F/&base64=1",
            "invalid_argument",
            "is not base64 for urls",
        ),
        (
            "&message=AAAA&base64=2",
            "invalid_argument",
            "`base64`: is not `1`",
        ),
        (
            "&message=AAAA&base64=1&compression=snappy",
            "unimplemented",
            "gzip",
        ),
        (
            "&message=AAAA&base64=1&compression=gzip",
            "invalid_argument",
            "not gzip",
        ),
        ("&message=%7B", "invalid_argument", "EOF"),
    ] {
        let path = format!("{SERVICE}/Look?connect=v1&encoding=json{query}");
        let mut request = post(&path, JSON, "");
        *request.method_mut() = Method::GET;
        let answer = client.send(request).await;
        let error = answer.json();
        assert_eq!(error["code"], code, "{query}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(holds), "{query}: {message}");
    }
    assert_eq!(client.echo.begun(), 0);
}

#[tokio::test]
async fn streams_that_are_refused() {
    let mut client = Client::of_echo().await;
    let bomb = frame(1, &gzip(&vec![b' '; 32 * 1024 * 1024]));
    let invalid = "invalid_argument";
    let gzipped = &[("connect-content-encoding", "gzip")][..];
    for (headers, body, code, holds) in [
        (&[][..], vec![], invalid, "must be one message"),
        (
            &[],
            [frame(0, b"{}"), frame(0, b"{}")].concat(),
            invalid,
            "must be one message",
        ),
        (
            &[],
            frame(0, b"{}")[..6].to_vec(),
            invalid,
            "in the middle of a message",
        ),
        (
            &[],
            vec![0, 0xff, 0, 0, 0],
            "resource_exhausted",
            "longer than `65536` bytes",
        ),
        (&[], frame(2, b"{}"), invalid, "flags `0x02`"),
        (
            &[],
            frame(1, b"{}"),
            invalid,
            "without `connect-content-encoding`",
        ),
        (gzipped, frame(1, b"{}"), invalid, "not gzip"),
        (
            gzipped,
            bomb,
            "resource_exhausted",
            "longer than `65536` bytes",
        ),
        (
            &[("connect-content-encoding", "snappy")],
            vec![],
            "unimplemented",
            "zstd",
        ),
        (
            &[("connect-protocol-version", "0")],
            vec![],
            invalid,
            "must be `1`",
        ),
        (&[], frame(0, b"{"), invalid, "EOF"),
    ] {
        let shown = format!("{headers:?} {:?}", body.get(..20).unwrap_or(&body));
        let answer = client
            .send(with(post("Count", STREAM_JSON, body), headers))
            .await;
        assert_eq!(answer.status, 200, "{shown}");
        let (messages, end) = read(&answer.body);
        assert!(messages.is_empty());
        assert_eq!(end["error"]["code"], code, "{shown}");
        let message = end["error"]["message"].as_str().unwrap();
        assert!(message.contains(holds), "{shown}: {message}");
    }
    assert_eq!(client.echo.begun(), 0);
}

#[tokio::test]
async fn a_stream_of_requests_that_goes_wrong() {
    for (rest, code) in [
        (
            Ok(Bytes::from(frame(0, b"{\"number\":\"x\"}"))),
            "invalid_argument",
        ),
        (Ok(Bytes::from(frame(8, b""))), "invalid_argument"),
        (Ok(Bytes::from_static(b"\0\0\0")), "invalid_argument"),
    ] {
        let mut client = Client::of_echo().await;
        let mut request = post("Sum", STREAM_JSON, "");
        let good = Bytes::from(frame(0, b"{\"number\":1}"));
        *request.body_mut() = pieces(vec![Ok(good), rest]);
        let answer = client.send(request).await;
        assert_eq!(read(&answer.body).1["error"]["code"], code);
        client.settled().await;
    }
}

#[tokio::test]
async fn a_deadline_passes() {
    let mut client = Client::of_echo().await;
    let timeout = |ms| [VERSION, ("connect-timeout-ms", ms)];
    let answer = client
        .send(with(post("Hang", JSON, "{}"), &timeout("50")))
        .await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.json()["code"], "deadline_exceeded");

    let count = frame(0, br#"{"pause":"0.01s"}"#);
    let request = with(post("Count", STREAM_JSON, count), &timeout("300"));
    let (messages, end) = read(&client.send(request).await.body);
    assert!(!messages.is_empty());
    assert_eq!(end["error"]["code"], "deadline_exceeded");
    client.settled().await;
}

#[tokio::test]
async fn the_service_breaks_off() {
    let ok = || Some(headers(&[("grpc-status", "0")]));
    let one = Bytes::from(frame(0, b"\x0a\x01a"));
    let packed = Bytes::from(frame(1, b"\x0a\x01a"));
    let not_protobuf = Bytes::from(frame(0, b"\x0a\x09"));
    for (script, messages) in [
        (Script::Raw(HeaderMap::new(), Some(one.clone()), None), 1),
        (
            Script::Raw(HeaderMap::new(), Some(one), Some(HeaderMap::new())),
            1,
        ),
        (Script::Raw(HeaderMap::new(), Some(packed), ok()), 0),
        (Script::Raw(HeaderMap::new(), Some(not_protobuf), ok()), 0),
    ] {
        let upstream = Upstream::start(script).await;
        let mut client = Client::of(&upstream);
        let request = post("/test.v1.Things/Watch", STREAM_JSON, frame(0, b"{}"));
        let (seen, end) = read(&client.send(request).await.body);
        // A reset may overtake what was sent before it.
        assert!(seen.len() <= messages);
        assert_eq!(end["error"]["code"], "unavailable");

        let request = post("/test.v1.Things/Unbound", JSON, "{}");
        let answer = client.send(with(request, &[VERSION])).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json()["code"], "unavailable");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call() {
    let mut client = Client::of_echo().await;
    let request = post("Count", STREAM_JSON, frame(0, b"{}"));
    let mut body = client.begin(request).await.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(client.echo.under_way(), 1);
    client.calling.leave();
    client.settled().await;
}
