//! Raw bodies to client streams and to one message.

use std::cell::Cell;

use bytes::Bytes;
use http::StatusCode;
use palisade_translate::Options;
use serde_json::json;

use super::{Echo, checksum, pattern, request, streaming, within};

/// Path, headers, and the problem they are answered with.
type Refused<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[tokio::test]
async fn a_raw_body_becomes_a_stream_of_messages() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let data = pattern(0, 300_000);
    let upload = request(
        "PUT",
        "/v1/files/a%20b?title=t",
        &[("content-type", "image/x")],
        data.clone(),
    );
    let answer = client.send(upload).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let mut seen = answer.json();
    let messages: u64 = seen["messages"].as_str().unwrap().parse().unwrap();
    // No message has more than 64 KiB; how they are cut above that is the socket's business.
    assert!(messages >= 5, "{messages}");
    seen["messages"] = json!("many");
    let expected = json!({
        "name": "a b", "title": "t", "contentType": "image/x",
        "bytes": "300000", "messages": "many", "checksum": checksum(&data),
    });
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn fields_beside_a_raw_body_keep_to_their_rules() {
    let echo = Echo::start().await;
    let title = "x".repeat(201);
    for (method, uri) in [
        ("PUT", format!("/v1/files/a?title={title}")),
        ("POST", format!("/v1/files?title={title}")),
    ] {
        let mut client = echo.client();
        let answer = client
            .send(request(method, &uri, &[("content-type", "image/x")], "abc"))
            .await;
        assert_eq!(answer.status, 400, "{uri}");
        let problem = answer.json();
        assert_eq!(problem["code"], "invalid_argument");
        assert_eq!(problem["errors"][0]["field"], "title");
        assert_eq!(problem["errors"][0]["rule"], "string.max_len");
    }
    echo.until_idle().await;
}

#[tokio::test]
async fn a_body_without_a_byte_is_one_message() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let answer = client
        .send(request(
            "PUT",
            "/v1/files/a",
            &[("content-type", "image/x")],
            "",
        ))
        .await;
    let expected = json!({
        "name": "a", "title": "", "contentType": "image/x",
        "bytes": "0", "messages": "1", "checksum": checksum(b""),
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn messages_are_sent_as_they_come() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let (mut body, upload) = streaming("PUT", "/v1/files/a", &[]);
    let answer = client.calling.send_request(upload);
    body.send_data(Bytes::from_static(b"x")).await.unwrap();
    echo.until_begun().await; // long before the end of the body
    body.send_data(Bytes::from_static(b"y")).await.unwrap();
    drop(body);
    assert_eq!(within("an answer", answer).await.unwrap().status(), 200);
    echo.until_idle().await;
}

#[tokio::test]
async fn one_message_takes_a_raw_body_too() {
    let echo = Echo::start().await;
    let small = Options {
        request_message_bytes_max: 1000,
        honours_http_metadata: true,
        ..Options::default()
    };
    let mut client = echo.client_with(small);
    let typed = [("content-type", "application/x-thing; a=b")];
    let mirror = client
        .send(request("POST", "/v1/mirror", &typed, &b"\x00\xff\r\n"[..]))
        .await;
    assert_eq!(mirror.body, &b"\x00\xff\r\n"[..]);
    assert_eq!(
        mirror.header("content-type"),
        Some("application/x-thing; a=b")
    );
    assert_eq!(mirror.header("content-length"), Some("4"));
    // A field of the request, and a field of the response.
    let stamp = client
        .send(request("PUT", "/v1/stamps/n", &typed, "{}"))
        .await;
    assert_eq!(
        (&*stamp.body, stamp.header("x-stamp")),
        (&b"{}"[..], Some("n"))
    );
    assert_eq!(
        stamp.header("content-type"),
        Some("application/x-thing; a=b")
    );
    let untyped = client.send(request("POST", "/v1/mirror", &[], "x")).await;
    assert_eq!(
        untyped.header("content-type"),
        Some("application/octet-stream")
    );
    let long = client
        .send(request("POST", "/v1/mirror", &typed, vec![0; 1001]))
        .await;
    assert_eq!(
        long.problem(),
        "413 body_too_large: the request body is longer than `1000` bytes"
    );
}

#[tokio::test]
async fn refused_uploads() {
    let echo = Echo::start().await;
    let cases: [Refused<'_>; 5] = [
        (
            "/v1/files?file.content_type=text/x",
            &[],
            "400 invalid_query: query parameter `file.content_type`: the body sets this field",
        ),
        (
            "/v1/files?nothing=x",
            &[],
            "400 invalid_query: query parameter `nothing`: message `palisade.echo.v1.UploadRequest` has no field `nothing`",
        ),
        (
            "/v1/files",
            &[("content-encoding", "deflate")],
            "415 unsupported_content_encoding: the request body may be compressed by one of `gzip, br, zstd`",
        ),
        (
            "/v1/files",
            &[("content-type", "a/b"), ("content-type", "a/c")],
            "400 invalid_content_type: the content type cannot be read",
        ),
        (
            "/v1/mirror?data=x",
            &[],
            "400 invalid_query: query parameter `data`: the body sets this field",
        ),
    ];
    for (path, headers, expected) in cases {
        let mut client = echo.client();
        let answer = client
            .send(request("POST", path, headers, vec![1; 500_000]))
            .await;
        assert_eq!(answer.problem(), expected, "{path}");
    }
    assert_eq!(echo.service.begun(), 0);
}

#[tokio::test]
async fn fields_beside_the_body_are_validated() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let name = "n".repeat(65);
    for path in ["/v1/files/", "/v1/stamps/"] {
        let upload = request("PUT", &format!("{path}{name}"), &[], "x");
        let answer = client.send(upload).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(answer.json()["errors"][0]["field"], "name", "{path}");
    }
    echo.until_idle().await;
}

#[tokio::test]
async fn a_service_that_answers_early_is_heard() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let (mut body, upload) = streaming("PUT", "/v1/files/a", &[("x-refuse", "1")]);
    body.send_data(Bytes::from_static(b"x")).await.unwrap();
    let answer = client.send(upload).await;
    assert_eq!(answer.problem(), "403 permission_denied: no uploads");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_call() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let (mut body, upload) = streaming("PUT", "/v1/files/a", &[]);
    let answer = client.calling.send_request(upload);
    body.send_data(Bytes::from_static(b"x")).await.unwrap();
    echo.until_begun().await;
    client.leave();
    assert!(within("the end", answer).await.is_err());
    echo.until_idle().await;
}

#[tokio::test]
async fn a_service_that_does_not_read_stops_the_client() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let (mut body, upload) = streaming("PUT", "/v1/files/a", &[("x-hang", "1")]);
    let answer = client.calling.send_request(upload);
    let sent = Cell::new(0_u32);
    let flood = async {
        let piece = Bytes::from(vec![0; 64 * 1024]);
        while body.send_data(piece.clone()).await.is_ok() {
            sent.set(sent.get() + 1);
        }
    };
    let stopped = async {
        let mut before = 0;
        loop {
            // Client, translator and service share this thread: had any of them something to do,
            // it would have been done.
            for _ in 0..10_000 {
                tokio::task::yield_now().await;
            }
            if sent.get() > 0 && sent.get() == before {
                return;
            }
            before = sent.get();
        }
    };
    tokio::select! {
        () = flood => panic!("the connection ended"),
        () = within("the client to be stopped", stopped) => {}
    }
    assert!(sent.get() < 256, "{} pieces", sent.get()); // 16 MiB, what a window is not
    drop(answer);
    client.leave();
    echo.until_idle().await;
}
