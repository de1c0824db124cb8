//! Broken upstreams, oversized messages, wrong media types, and clients that leave.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use palisade_translate::{JsonOptions, Options};
use tokio::sync::Notify;

use crate::client::{Client, request};
use crate::upstream::{Script, Upstream, headers};

const UNUSABLE: &str = "the service did not give a usable answer";

fn small() -> Options {
    Options {
        request_message_bytes_max: 64,
        response_message_bytes_max: 32,
        json_response_bytes_max: 100,
        json: JsonOptions {
            write_defaults: false,
            ..JsonOptions::default()
        },
        ..Options::default()
    }
}

/// A frame whose prefix says what it is told to.
fn frame(flag: u8, length: u32, message: &[u8]) -> Option<Bytes> {
    let mut bytes = vec![flag];
    bytes.extend(length.to_be_bytes());
    bytes.extend(message);
    Some(bytes.into())
}

/// Name, script, expected status and code.
fn unusable() -> Vec<(&'static str, Script, &'static str)> {
    let none = HeaderMap::new;
    let ok = || Some(headers(&[("grpc-status", "0")]));
    let escapes = [b"\x0a\x1e".as_slice(), &[1; 30]].concat();
    vec![
        (
            "reset",
            Script::Raw(none(), None, None),
            "502 upstream_broken",
        ),
        (
            "reset early",
            Script::Raw(none(), Some(Bytes::new()), None),
            "502 upstream_broken",
        ),
        (
            "no status",
            Script::Raw(none(), None, Some(none())),
            "502 upstream_broken",
        ),
        (
            "no trailers",
            Script::TrailersOnly(none()),
            "502 upstream_broken",
        ),
        (
            "empty ok",
            Script::TrailersOnly(headers(&[("grpc-status", "0")])),
            "502 upstream_response_invalid",
        ),
        (
            "no message",
            Script::Raw(none(), Some(Bytes::new()), ok()),
            "502 upstream_response_invalid",
        ),
        (
            "compressed",
            Script::Raw(none(), frame(1, 2, b"\x0a\x00"), ok()),
            "502 upstream_response_invalid",
        ),
        (
            "short",
            Script::Raw(none(), frame(0, 9, b"\x0a\x00"), ok()),
            "502 upstream_response_invalid",
        ),
        (
            "two messages",
            Script::Raw(none(), frame(0, 0, &[0; 5]), ok()),
            "502 upstream_response_invalid",
        ),
        (
            "not protobuf",
            Script::Raw(none(), frame(0, 2, b"\x0a\x09"), ok()),
            "502 upstream_response_invalid",
        ),
        (
            "too large",
            Script::Raw(none(), frame(0, 33, &[0; 33]), ok()),
            "502 upstream_response_too_large",
        ),
        (
            "too large as json",
            Script::Raw(none(), frame(0, 32, &escapes), ok()),
            "502 upstream_response_too_large",
        ),
        (
            "http 500",
            Script::Http(StatusCode::INTERNAL_SERVER_ERROR),
            "502 upstream_response_invalid",
        ),
    ]
}

#[tokio::test]
async fn unusable_answers() {
    for (name, script, expected) in unusable() {
        let upstream = Upstream::start(script).await;
        let mut client = Client::connect(&upstream, small());
        let answer = client.send(request("GET", "/v1/things", "")).await;
        assert_eq!(
            answer.summary(),
            format!("{expected}: {UNUSABLE}"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there() {
    let gone = {
        let upstream = Upstream::start(Script::Echo(HeaderMap::new())).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        upstream.with_channel(endpoint.unwrap().connect_lazy())
    };
    let overloaded = Upstream::start(Script::Http(StatusCode::BAD_GATEWAY)).await;
    for upstream in [gone, overloaded] {
        let mut client = Client::connect(&upstream, Options::default());
        let answer = client.send(request("GET", "/v1/things", "")).await;
        let expected = "503 unavailable: the service cannot be reached";
        assert_eq!(answer.summary(), expected);
    }
}

#[tokio::test]
async fn a_call_that_runs_out_of_time() {
    let upstream = Upstream::start(Script::Hang {
        started: Arc::default(),
        cancelled: Arc::default(),
    })
    .await;
    let mut client = Client::connect(&upstream, Options::default());
    let mut request = request("GET", "/v1/things", "");
    request
        .headers_mut()
        .extend(headers(&[("grpc-timeout", "1m")]));
    let answer = client.send(request).await;
    let expected = "504 deadline_exceeded: the service did not answer in time";
    assert_eq!(answer.summary(), expected);
}

/// Content-Type and Content-Encoding fields, body, expected code (none: 200).
type MediaType = (
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
);

const MEDIA_TYPES: [MediaType; 13] = [
    (&[(TYPE, "application/json")], JSON, ""),
    (
        &[(TYPE, "Application/JSON; charset=\"UTF-8\"; x=y")],
        JSON,
        "",
    ),
    (
        &[(TYPE, "application/json"), (CODING, "identity")],
        JSON,
        "",
    ),
    (&[], "", ""),
    (&[(TYPE, "text/plain")], "", ""),
    (&[], JSON, "unsupported_media_type"),
    (
        &[(TYPE, "application/json; charset=latin1")],
        JSON,
        "unsupported_media_type",
    ),
    (
        &[(TYPE, "application/jsonp")],
        JSON,
        "unsupported_media_type",
    ),
    (&[(TYPE, "text/plain")], JSON, "unsupported_media_type"),
    (
        &[(TYPE, "application/x-www-form-urlencoded")],
        "flag=true",
        "unsupported_media_type",
    ),
    (
        &[(TYPE, "application/json"), (TYPE, "text/plain")],
        JSON,
        "unsupported_media_type",
    ),
    (
        &[(TYPE, "application/json"), (CODING, "deflate")],
        JSON,
        "unsupported_content_encoding",
    ),
    (&[(TYPE, "")], JSON, "unsupported_media_type"),
];
const TYPE: &str = "content-type";
const CODING: &str = "content-encoding";
const JSON: &str = "{\"flag\":true}";

#[tokio::test]
async fn media_types() {
    let upstream = Upstream::start(Script::Echo(HeaderMap::new())).await;
    for (fields, body, code) in MEDIA_TYPES {
        let mut client = Client::connect(&upstream, Options::default());
        let mut request = request("POST", "/v1/things", "");
        *request.body_mut() = Bytes::from_static(body.as_bytes()).into();
        request.headers_mut().extend(headers(fields));
        let answer = client.send(request).await;
        let status = if code.is_empty() { 200 } else { 415 };
        assert_eq!(answer.status.as_u16(), status, "{fields:?}");
        if status != 200 {
            assert_eq!(answer.json()["code"], code, "{fields:?}");
            let hint = answer.header("accept").or(answer.header("accept-encoding"));
            assert!(hint.is_some(), "{fields:?}");
        }
    }
}

#[tokio::test]
async fn body_limits() {
    let upstream = Upstream::start(Script::Echo(HeaderMap::new())).await;
    let too_large = "413 body_too_large: the request body is longer than `64` bytes";
    let none = "400 unexpected_body: this request takes no body";
    let rows = [
        ("POST", "/v1/things", format!("{:64}", "{}"), "200 {}"),
        ("POST", "/v1/things", format!("{:65}", "{}"), too_large),
        ("GET", "/v1/things", "{}".to_owned(), none),
        ("DELETE", "/v1/things/7", "{}".to_owned(), none),
    ];
    for (method, uri, body, expected) in rows {
        let mut client = Client::connect(&upstream, small());
        let answer = client.send(request(method, uri, &body)).await;
        assert_eq!(answer.summary(), expected, "{method} {} bytes", body.len());
    }
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test]
async fn chunked_bodies_are_bounded_too() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let upstream = Upstream::start(Script::Echo(HeaderMap::new())).await;
    let pad = " ".repeat(70);
    for (method, chunks, expected) in [
        ("POST", format!("46\r\n{pad}\r\n0\r\n\r\n"), "HTTP/1.1 413 "),
        ("POST", "2\r\n{}\r\n0\r\n\r\n".to_owned(), "HTTP/1.1 200 "),
        ("GET", "0\r\n\r\n".to_owned(), "HTTP/1.1 200 "),
        ("GET", "1\r\n \r\n0\r\n\r\n".to_owned(), "HTTP/1.1 400 "),
        ("POST", "zz\r\n".to_owned(), "HTTP/1.1 400 "),
    ] {
        let mut io = crate::client::raw(&upstream, small());
        let head = format!(
            "{method} /v1/things HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\
             content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
        );
        io.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(expected), "{chunks:.20}: {answer}");
    }
}

#[tokio::test]
async fn a_refused_body_that_comes_late_is_taken() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let upstream = Upstream::start(Script::Echo(HeaderMap::new())).await;
    let refused = [
        ("POST /v1/nope", "HTTP/1.1 404 "),
        ("PATCH /v1/things", "HTTP/1.1 405 "),
        ("POST /v1/things", "HTTP/1.1 415 "),
        ("POST /v1/ping", "HTTP/1.1 413 "),
        ("GET /v1/things", "HTTP/1.1 400 "),
    ];
    for (line, expected) in refused {
        let mut io = crate::client::raw(&upstream, small());
        let media = if expected.contains("413") {
            "application/json"
        } else {
            "text/plain"
        };
        let head = format!(
            "{line} HTTP/1.1\r\nhost: e\r\ncontent-type: {media}\r\ncontent-length: 500000\r\n\r\n"
        );
        io.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..50 {
            // Far more than a pipe buffers, so an end that has stopped reading is noticed.
            io.write_all(&[b' '; 10_000]).await.unwrap();
        }
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(expected), "{line}: {answer}");
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_answer() {
    let upstream = Upstream::start(Script::Echo(HeaderMap::new())).await;
    let mut client = Client::connect(&upstream, small());
    let answer = client.send(request("GET", "/v1/things/7", "")).await;
    assert_eq!(answer.summary(), "200 {\"id\":\"7\"}");
    assert_eq!(answer.header("connection"), Some("close"));
    let (connection, served) = client.ends();
    connection.await.unwrap();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_call() {
    let (started, cancelled) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let upstream = Upstream::start(Script::Hang {
        started: Arc::clone(&started),
        cancelled: Arc::clone(&cancelled),
    })
    .await;
    for (method, body) in [("GET", ""), ("PUT", "{}")] {
        let mut client = Client::connect(&upstream, Options::default());
        let answer = tokio::spawn(client.start(request(method, "/v1/things/7", body)));
        started.notified().await;
        client.leave();
        assert!(answer.await.unwrap().is_err());
        cancelled.notified().await;
        // Whether hyper calls it an error or not, the connection must end.
        let _ = client.ends().1.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_http_is_an_error() {
    use tokio::io::AsyncWriteExt;
    let upstream = Upstream::start(Script::Echo(HeaderMap::new())).await;
    let (mut io, served) = crate::client::raw_with_end(&upstream, small());
    io.write_all(b"\x16\x03\x01\x00\x01\x00\r\n\r\n")
        .await
        .unwrap();
    let error = served.await.unwrap().unwrap_err().to_string();
    assert!(error.starts_with("connection ended early: "), "{error}");
}
