//! Facts of HTTP as metadata, both ways.

use http::StatusCode;
use palisade_translate::Options;
use serde_json::json;

use super::{Echo, request};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn services_are_told_how_they_were_asked() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let headers = [
        JSON,
        ("range", "bytes=0-1"),
        ("if-match", "\"a\""),
        ("upload-offset", "7"),
        ("idempotency-key", "k"),
        ("x-http-method", "FORGED"),
        ("x-http-status", "500"),
        ("x-http-method-override", "DELETE"),
    ];
    let answer = client
        .send(request("POST", "/v1/echo?", &headers, "{}"))
        .await;
    let metadata = &answer.json()["metadata"];
    for (name, value) in [
        ("range", "bytes=0-1"),
        ("if-match", "\"a\""),
        ("upload-offset", "7"),
        ("idempotency-key", "k"),
        ("x-http-method", "POST"),
        ("x-http-path", "/v1/echo?"),
        ("x-http-content-type", "application/json"),
        ("x-http-content-length", "2"),
    ] {
        assert_eq!(metadata[name], value, "{name}");
    }
    for name in ["x-http-status", "x-http-method-override"] {
        assert_eq!(metadata.get(name), None, "{name}");
    }
    let answer = client.get("/v1/echo/a%2Fb?number=1", &[]).await;
    let metadata = &answer.json()["metadata"];
    assert_eq!(metadata["x-http-path"], "/v1/echo/a%2Fb?number=1");
    assert_eq!(metadata.get("x-http-content-length"), None);
}

#[tokio::test]
async fn services_choose_headers_but_not_framing() {
    let echo = Echo::start().await;
    let said = [
        ("etag", "happens to be"),
        ("x-http-header-etag", "\"v1\""),
        (
            "x-http-header-content-disposition",
            "attachment; filename=\"a\"",
        ),
        ("x-http-header-location", "/v1/echo/1"),
        ("x-http-header-content-length", "1"),
        ("x-http-header-content-type", "text/html"),
        ("x-http-header-content-encoding", "gzip"),
        ("x-http-header-transfer-encoding", "chunked"),
        ("x-http-header-connection", "close"),
        ("x-http-header-upgrade", "h2c"),
        ("x-http-header-trailer", "x"),
        ("x-http-header-date", "yesterday"),
        ("x-http-header-grpc-status", "0"),
        ("x-http-header-x-http-status", "500"),
        ("x-http-header-", "x"),
        ("x-http-other", "x"),
    ];
    let said: serde_json::Map<_, _> = said
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let body = json!({ "answer_metadata": said }).to_string();
    let mut client = echo.client();
    let answer = client
        .send(request("POST", "/v1/echo", &[JSON], body.clone()))
        .await;
    let headers = |answer: &super::Answer| -> Vec<String> {
        let mut headers: Vec<_> = answer
            .headers
            .iter()
            .filter(|(name, _)| !["connection", "date", "content-length"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        headers.sort();
        headers
    };
    let expected = [
        "content-disposition: attachment; filename=\"a\"",
        "content-type: application/json",
        "etag: \"v1\"",
        "location: /v1/echo/1",
    ];
    assert_eq!(headers(&answer), expected);
    assert_eq!(
        answer.header("content-length"),
        Some(&*answer.body.len().to_string())
    );

    let mut client = echo.client_with(Options::default());
    let answer = client
        .send(request("POST", "/v1/echo", &[JSON], body))
        .await;
    assert_eq!(
        headers(&answer),
        ["content-type: application/json", "etag: happens to be"]
    );
}

#[tokio::test]
async fn services_choose_statuses_of_their_kind() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let cases = [
        ("201", 201, 400),
        ("204", 204, 400),
        ("205", 205, 400),
        ("303", 303, 400),
        ("304", 304, 400),
        ("412", 200, 412),
        ("503", 200, 503),
        ("099", 200, 400),
        ("600", 200, 400),
        ("4 2", 200, 400),
    ];
    for (chosen, success, failure) in cases {
        let said = json!({ "x-http-status": chosen, "x-http-header-retry-after": "7" });
        let body = json!({ "answer_metadata": said }).to_string();
        let answer = client
            .send(request("POST", "/v1/echo", &[JSON], body))
            .await;
        assert_eq!(answer.status.as_u16(), success, "{chosen}");
        assert_eq!(
            answer.body.is_empty(),
            [204, 205, 304].contains(&success),
            "{chosen}"
        );
        // FAILED_PRECONDITION.
        let body = json!({ "code": 9, "message": "m", "answer_metadata": said }).to_string();
        let answer = client
            .send(request("POST", "/v1/fail", &[JSON], body))
            .await;
        assert_eq!(
            answer.problem(),
            format!("{failure} failed_precondition: m"),
            "{chosen}"
        );
        assert_eq!(answer.json()["status"], failure, "{chosen}");
        assert_eq!(answer.header("retry-after"), Some("7"), "{chosen}");
    }
}

#[tokio::test]
async fn tus_needs_nothing_else() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let described = client.send(request("OPTIONS", "/v1/tus", &[], "")).await;
    assert_eq!(
        (described.status, described.header("tus-version")),
        (StatusCode::NO_CONTENT, Some("1.0.0"))
    );

    let created = client
        .send(request("POST", "/v1/tus", &[("upload-length", "10")], ""))
        .await;
    assert_eq!(
        (created.status, created.header("location")),
        (StatusCode::CREATED, Some("/v1/tus/0"))
    );
    let write = |offset: &'static str, content_type: &'static str, data: &'static str| {
        let headers = [("upload-offset", offset), ("content-type", content_type)];
        request("PATCH", "/v1/tus/0", &headers, data)
    };
    let tus = "application/offset+octet-stream";
    let written = client.send(write("0", tus, "012345")).await;
    assert_eq!(
        (written.status, written.header("upload-offset")),
        (StatusCode::NO_CONTENT, Some("6"))
    );
    assert_eq!(written.header("tus-resumable"), Some("1.0.0"));
    assert_eq!(
        client.send(write("5", tus, "5")).await.problem(),
        "409 failed_precondition: the offset is another"
    );
    assert_eq!(
        client.send(write("6", "a/b", "6")).await.problem(),
        "415 failed_precondition: the content type is another"
    );
    let looked = client.send(request("HEAD", "/v1/tus/0", &[], "")).await;
    assert_eq!(
        (looked.status, looked.header("upload-offset")),
        (StatusCode::OK, Some("6"))
    );
    assert_eq!(looked.header("cache-control"), Some("no-store"));
    assert_eq!(
        client
            .send(write("6", tus, "6789"))
            .await
            .header("upload-offset"),
        Some("10")
    );
}
