//! gRPC-Web where something is wrong: frames, services, time, clients that leave.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use palisade_echo::proto::{CountRequest, EchoRequest, RegisterRequest};
use tokio::sync::Notify;

use super::grpc_web::BINARY;
use super::{Client, MESSAGE_BYTES_MAX, frame, frames, message, pieces, post, with};
use crate::packing::gzip;
use crate::upstream::{Script, Upstream, headers};

const TEXT: &str = "application/grpc-web-text";

/// The status, wherever it is, and its message.
fn status(answer: &super::Answer) -> (String, String) {
    let field = |name: &str| {
        let in_head = answer.header(name).map(str::to_owned);
        in_head.unwrap_or_else(|| {
            let (flags, trailers) = frames(&answer.body).pop().unwrap_or_default();
            assert_eq!(flags, 0x80, "{:?}", answer.body);
            let trailers = String::from_utf8(trailers).unwrap();
            let mut lines = trailers.split_terminator("\r\n");
            let value = lines.find_map(|line| line.strip_prefix(&format!("{name}: ")));
            value.unwrap_or_default().to_owned()
        })
    };
    (field("grpc-status"), field("grpc-message"))
}

#[tokio::test]
async fn requests_that_are_refused_cost_no_call() {
    let mut client = Client::of_echo().await;
    let echo = message(&EchoRequest::default());
    let long = frame(0, &vec![0; MESSAGE_BYTES_MAX + 1]);
    let lie = [&[0, 0xff, 0xff, 0xff, 0xff], echo.as_slice()].concat();
    let end = "the request body ends in the middle of a message";
    let too_long = "the request body is longer than `65536` bytes";
    let base64 = "the request body is not base64";
    let one = "the request must be one message";
    for (content_type, body, code, reason) in [
        (BINARY, Vec::new(), "3", one),
        (BINARY, [echo.clone(), echo.clone()].concat(), "3", one),
        (BINARY, echo[..3].to_vec(), "3", end),
        (BINARY, frame(0, b"abc")[..6].to_vec(), "3", end),
        (BINARY, long, "8", too_long),
        (
            BINARY,
            lie,
            "8",
            "the request body is longer than `65536` bytes",
        ),
        (
            BINARY,
            frame(0x80, b"grpc-status: 0\r\n"),
            "3",
            "a message with the flags `0x80`",
        ),
        (
            BINARY,
            frame(2, b""),
            "3",
            "a message with the flags `0x02`",
        ),
        (TEXT, echo.clone(), "3", base64),
        (TEXT, b"AAAA*AAA".to_vec(), "3", base64),
        (TEXT, b"AAAAAAA".to_vec(), "3", end),
    ] {
        let shown = format!("{content_type} {:?}", body.get(..20).unwrap_or(&body));
        let answer = client.send(post("Echo", content_type, body)).await;
        assert_eq!(answer.status, 200, "{shown}");
        assert_eq!(
            status(&answer),
            (code.to_owned(), reason.to_owned()),
            "{shown}"
        );
    }
    for (path, method) in [
        ("Nope", Method::POST),
        ("/x", Method::POST),
        ("Echo", Method::PUT),
    ] {
        let mut request = post(path, BINARY, echo.clone());
        *request.method_mut() = method;
        assert_eq!(status(&client.send(request).await).0, "12", "{path}");
    }
    assert_eq!(client.echo.begun(), 0);
}

#[tokio::test]
async fn compressed_requests_are_checked_all_the_same() {
    use prost::Message;
    let mut client = Client::of_echo().await;
    let nobody = RegisterRequest::default().encode_to_vec();
    let bomb = gzip(&vec![0; 32 * 1024 * 1024]);
    let bomb = bomb.as_slice();
    for (packed, encoding, code) in [
        (gzip(&nobody).as_slice(), "gzip", "3"),
        (b"plain", "gzip", "3"),
        (bomb, "gzip", "8"),
        (&nobody, "snappy", "12"),
    ] {
        let request = post("Register", BINARY, frame(1, packed));
        let answer = client
            .send(with(request, &[("grpc-encoding", encoding)]))
            .await;
        assert_eq!(status(&answer).0, code, "{encoding}");
    }
    assert_eq!(client.echo.begun(), 0);
    // What has no rules is the service's to unpack; this one says that it does not.
    let request = post("Echo", BINARY, frame(1, &gzip(b"")));
    let answer = client
        .send(with(request, &[("grpc-encoding", "gzip")]))
        .await;
    let (code, reason) = status(&answer);
    assert_eq!(code, "12");
    assert!(reason.contains("gzip"), "{reason}");
}

#[tokio::test]
async fn a_stream_of_requests_that_goes_wrong() {
    let mut client = Client::of_echo().await;
    let good = || Ok(Bytes::from(frame(0, b"\x08\x01")));
    for (rest, code, reason) in [
        (
            Ok(Bytes::from(frame(7, b""))),
            "3",
            "a message with the flags `0x07`",
        ),
        (
            Ok(Bytes::from_static(b"\0\0")),
            "3",
            "the request body ends in the middle of a message",
        ),
        (
            Ok(Bytes::from_static(b"\0\x7f\0\0\0")),
            "8",
            "the request body is longer than `65536` bytes",
        ),
    ] {
        let mut request = post("Sum", BINARY, "");
        *request.body_mut() = pieces(vec![good(), rest]);
        let answer = client.send(request).await;
        assert_eq!(status(&answer), (code.to_owned(), reason.to_owned()));
        client.settled().await;
        // The connection is of no use any more where the body was not read to its end.
        client = Client::of_echo().await;
    }
}

#[tokio::test]
async fn a_deadline_passes() {
    let mut client = Client::of_echo().await;
    let request = with(
        post("Hang", BINARY, frame(0, b"")),
        &[("grpc-timeout", "50m")],
    );
    assert_eq!(status(&client.send(request).await).0, "4");
    let count = CountRequest {
        pause: Some(duration(10)),
        ..CountRequest::default()
    };
    let request = post("Count", BINARY, message(&count));
    let answer = client
        .send(with(request, &[("grpc-timeout", "300m")]))
        .await;
    assert_eq!(status(&answer).0, "4");
    assert!(frames(&answer.body).len() > 1);
    client.settled().await;
}

pub(super) fn duration(millis: u64) -> prost_types::Duration {
    Duration::from_millis(millis).try_into().unwrap()
}

#[tokio::test]
async fn the_service_breaks_off() {
    let ok = || Some(headers(&[("grpc-status", "0")]));
    let one = Bytes::from(frame(0, b"\x0a\x01a"));
    let half = Bytes::from_static(b"\0\0\0\0\x09abc");
    let odd = Bytes::from(frame(4, b""));
    for (script, messages, code) in [
        (
            Script::Raw(HeaderMap::new(), Some(one.clone()), None),
            1,
            "14",
        ),
        (
            Script::Raw(HeaderMap::new(), Some(one), Some(HeaderMap::new())),
            1,
            "14",
        ),
        (Script::Raw(HeaderMap::new(), Some(half), ok()), 0, "14"),
        (Script::Raw(HeaderMap::new(), Some(odd), ok()), 0, "14"),
        (Script::TrailersOnly(HeaderMap::new()), 0, "14"),
        (Script::Http(http::StatusCode::SERVICE_UNAVAILABLE), 0, "14"),
    ] {
        let upstream = Upstream::start(script).await;
        let mut client = Client::of(&upstream);
        let answer = client
            .send(post("/test.v1.Things/Watch", BINARY, frame(0, b"")))
            .await;
        assert_eq!(status(&answer).0, code);
        let seen = frames(&answer.body)
            .iter()
            .filter(|(flags, _)| *flags == 0)
            .count();
        // A reset may overtake what was sent before it.
        assert!(seen <= messages);
    }
}

#[tokio::test]
async fn what_is_compressed_passes_as_it_is() {
    let initial = headers(&[("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")]);
    let ok = Some(headers(&[("grpc-status", "0"), ("x-service-end", "1")]));
    let packed = frame(1, &gzip(b"\x0a\x01a"));
    let upstream = Upstream::start(Script::Raw(initial, Some(packed.clone().into()), ok)).await;
    let mut client = Client::of(&upstream);
    let request = post("/test.v1.Things/Unbound", BINARY, packed.clone());
    let sent = [
        ("grpc-encoding", "gzip"),
        ("grpc-accept-encoding", "gzip,br"),
    ];
    let answer = client.send(with(request, &sent)).await;
    assert_eq!(answer.header("grpc-encoding"), Some("gzip"));
    assert_eq!(answer.header("grpc-accept-encoding"), Some("gzip"));
    let trailers = frame(0x80, b"grpc-status: 0\r\nx-service-end: 1\r\n");
    assert_eq!(answer.body, [packed, trailers].concat());
    let (_, seen) = upstream.last_call();
    assert_eq!(seen["grpc-encoding"], "gzip");
    assert_eq!(seen["grpc-accept-encoding"], "gzip,br");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call() {
    for rpc in ["Count", "Hang"] {
        let mut client = Client::of_echo().await;
        let request = post(rpc, BINARY, frame(0, b""));
        if rpc == "Count" {
            let mut body = client.begin(request).await.into_body();
            assert!(body.frame().await.unwrap().is_ok());
        } else {
            tokio::spawn(client.calling.send_request(request));
            while client.echo.begun() == 0 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(client.echo.under_way(), 1);
        client.calling.leave();
        client.settled().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_sends_ends_the_call() {
    let (started, cancelled) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let upstream = Upstream::start(Script::Hang {
        started: started.clone(),
        cancelled: cancelled.clone(),
    })
    .await;
    let mut client = Client::of(&upstream);
    let text = BASE64_STANDARD.encode(frame(0, b""));
    tokio::spawn(
        client
            .calling
            .send_request(post("/test.v1.Things/Watch", TEXT, text)),
    );
    started.notified().await;
    client.calling.leave();
    cancelled.notified().await;
}
