//! Bodies of any type in answers: whole, in ranges, and such that break off.

use http::StatusCode;
use http_body_util::BodyExt;
use palisade_translate::Options;

use super::{Echo, pattern, request, within};

#[tokio::test]
async fn a_stream_becomes_a_body() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let path = "/v1/files/a?bytes=200000&content_type=text/x";
    let whole = client.get(path, &[]).await;
    assert_eq!(whole.status, StatusCode::OK);
    assert_eq!(whole.header("content-type"), Some("text/x"));
    assert_eq!(whole.header("content-length"), Some("200000"));
    assert_eq!(whole.header("etag"), Some("\"a-200000\""));
    assert_eq!(whole.body, pattern(0, 200_000));

    let head = client.send(request("HEAD", path, &[], "")).await;
    assert_eq!(
        (head.header("content-type"), head.header("content-length")),
        (Some("text/x"), Some("200000"))
    );
    assert!(head.body.is_empty());

    let part = client.get(path, &[("range", "bytes=1000-99999")]).await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        part.header("content-range"),
        Some("bytes 1000-99999/200000")
    );
    assert_eq!(part.header("content-length"), Some("99000"));
    assert_eq!(part.body, pattern(1000, 100_000));

    let past = client.get(path, &[("range", "bytes=200000-")]).await;
    assert_eq!(
        past.problem(),
        "416 out_of_range: the range is past the end"
    );
    assert_eq!(past.header("content-range"), Some("bytes */200000"));

    let same = client.get(path, &[("if-none-match", "\"a-200000\"")]).await;
    assert_eq!(
        (same.status, same.header("content-type")),
        (StatusCode::NOT_MODIFIED, None)
    );
    assert!(same.body.is_empty());
    echo.until_idle().await;
}

#[tokio::test]
async fn an_empty_body_has_a_type_and_so_has_one_without() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let empty = client.get("/v1/files/a?content_type=text/x", &[]).await;
    assert_eq!(
        (empty.header("content-type"), empty.header("content-length")),
        (Some("text/x"), Some("0"))
    );
    assert!(empty.body.is_empty());
    let thumbnail = client
        .get("/v1/thumbnails/a?bytes=300&content_type=image/x", &[])
        .await;
    assert_eq!(
        (
            thumbnail.header("content-type"),
            thumbnail.header("content-length")
        ),
        (Some("image/x"), Some("300"))
    );
    assert_eq!(thumbnail.body, pattern(0, 300));
    let unchecked = Options {
        validates: false,
        ..Options::default()
    };
    let mut client = echo.client_with(unchecked);
    let bad = client.get("/v1/thumbnails/a?content_type=a%0Ab", &[]).await;
    assert_eq!(
        bad.problem(),
        "502 upstream_response_invalid: the service did not give a usable answer"
    );
}

#[tokio::test]
async fn a_service_that_is_not_honoured_sends_only_bytes() {
    let echo = Echo::start().await;
    let mut client = echo.client_with(Options::default());
    let answer = client
        .get("/v1/files/a?bytes=200000", &[("range", "bytes=0-9")])
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, pattern(0, 10));
    let names: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
    let expected = [
        "etag",
        "content-type",
        "connection",
        "transfer-encoding",
        "date",
    ];
    assert_eq!(names, expected);
    let past = client
        .get("/v1/files/a?bytes=5", &[("range", "bytes=5-")])
        .await;
    assert_eq!(
        past.problem(),
        "400 out_of_range: the range is past the end"
    );
    assert_eq!(past.header("content-range"), None);
}

#[tokio::test]
async fn a_body_that_is_not_what_was_announced_breaks_off() {
    let echo = Echo::start().await;
    let paths = [
        "/v1/files/a?bytes=100000&announced_bytes=100001",
        "/v1/files/a?bytes=100000&announced_bytes=99999",
        "/v1/files/a?bytes=131072&announced_bytes=65536",
        "/v1/files/a?bytes=100000&fails_at=1",
        // All bytes came, but the call failed behind them.
        "/v1/files/a?bytes=131072&announced_bytes=65536&fails_at=1",
    ];
    for path in paths {
        let mut client = echo.client();
        // What is wrong at once may be seen before the head has left.
        let answer = client.calling.send_request(request("GET", path, &[], ""));
        let Ok(answer) = within("a head", answer).await else {
            continue;
        };
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let body = within("a body", answer.into_body().collect()).await;
        assert!(body.is_err(), "{path}");
    }
    echo.until_idle().await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_call() {
    let echo = Echo::start().await;
    for method in ["GET", "HEAD"] {
        let mut client = echo.client();
        let endless = format!("/v1/files/a?bytes={}", 1_u64 << 40);
        let mut answer = client.start(request(method, &endless, &[], "")).await;
        if method == "GET" {
            within("a piece", answer.body_mut().frame())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(echo.service.under_way(), 1);
        }
        drop(answer);
        client.leave();
        echo.until_idle().await;
    }
}
