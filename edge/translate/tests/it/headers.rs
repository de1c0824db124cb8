//! What crosses from HTTP headers to gRPC metadata and back.

use http::StatusCode;
use http_body_util::BodyExt;
use palisade_translate::Options;

use crate::client::{Client, request};
use crate::upstream::{Script, Upstream, headers};

#[tokio::test]
async fn request_headers() {
    let upstream = Upstream::start(Script::Echo(Default::default())).await;
    let mut client = Client::connect(&upstream, Options::default());
    let mut request = request("POST", "/v1/things", "{}");
    request.headers_mut().extend(headers(&[
        ("authorization", "Bearer t"),
        ("x-request-id", "r"),
        ("traceparent", "00-1-2-01"),
        ("tracestate", "a=b"),
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
        ("x-user-id", "u"),
        ("x-many", "1"),
        ("x-many", "2"),
        ("x-ok-bin", "AAE"),
        ("x-bad-bin", "!"),
        ("grpc-timeout", "5S"),
        ("grpc-encoding", "gzip"),
        ("grpc-status", "0"),
        ("accept", "text/html"),
        ("accept-encoding", "gzip"),
        ("content-language", "en"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "1"),
        ("te", "gzip"),
        ("expect", "x"),
        ("x!odd", "1"),
    ]));
    request.headers_mut().insert(
        "x-latin",
        http::HeaderValue::from_bytes(b"caf\xe9").unwrap(),
    );
    assert_eq!(client.send(request).await.status, StatusCode::OK);
    let (path, mut seen) = upstream.last_call();
    assert_eq!(path, "/test.v1.Things/Create");
    assert!(seen.remove("user-agent").unwrap().starts_with("tonic/"));
    let mut seen: Vec<_> = seen.into_iter().collect();
    seen.sort();
    let expected = [
        ("authorization", "Bearer t"),
        ("content-length", "5"), // of the frame: hyper's
        ("content-type", "application/grpc"),
        ("forwarded", "for=192.0.2.1"),
        ("grpc-timeout", "5S"),
        ("te", "trailers"),
        ("traceparent", "00-1-2-01"),
        ("tracestate", "a=b"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-http-content-length", "2"),
        ("x-http-content-type", "application/json"),
        ("x-http-method", "POST"),
        ("x-http-path", "/v1/things"),
        ("x-many", "1|2"),
        ("x-ok-bin", "AAE"),
        ("x-request-id", "r"),
        ("x-user-id", "u"),
    ];
    assert_eq!(seen, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
}

#[tokio::test]
async fn timeouts_that_are_none_are_dropped() {
    let upstream = Upstream::start(Script::Echo(Default::default())).await;
    let mut client = Client::connect(&upstream, Options::default());
    for (value, sent) in [
        ("100m", true),
        ("99999999n", true),
        ("100", false),
        ("S", false),
        ("123456789S", false),
        ("-1S", false),
        ("1s", false),
    ] {
        let mut request = request("GET", "/v1/things", "");
        request
            .headers_mut()
            .extend(headers(&[("grpc-timeout", value)]));
        client.send(request).await;
        let (_, seen) = upstream.last_call();
        assert_eq!(seen.contains_key("grpc-timeout"), sent, "{value}");
    }
}

#[tokio::test]
async fn response_headers() {
    // The client's list of allowed headers is the other half of this test.
    let upstream = Upstream::start(Script::Echo(headers(&[
        ("x-service-a", "1"),
        ("x-service-a", "2"),
        ("grpc-accept-encoding", "gzip"),
        ("grpc-encoding", "identity"),
        ("content-encoding", "gzip"),
        ("date", "yesterday"),
        ("x-http-status", "201"), // from a service that may not choose
    ])))
    .await;
    let mut client = Client::connect(&upstream, Options::default());
    let answer = client.send(request("POST", "/v1/ping", "{}")).await;
    assert_eq!(answer.summary(), "200 {}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_ne!(answer.header("date"), Some("yesterday"));
    let all: Vec<_> = answer.headers.get_all("x-service-a").iter().collect();
    assert_eq!(all, ["1", "2"]);
}

#[tokio::test]
async fn trailers_say_nothing_of_http() {
    let trailers = headers(&[
        ("grpc-status", "0"),
        ("x-service-a", "1"),
        ("x-http-header-x-service-b", "1"),
        ("x-http-status", "201"),
    ]);
    let script = Script::Raw(Default::default(), None, Some(trailers));
    let upstream = Upstream::start(script).await;
    let honoured = Options {
        honours_http_metadata: true,
        ..Options::default()
    };
    let mut client = Client::connect(&upstream, honoured);
    let mut call = request("POST", "/test.v1.Things/Get", "\0\0\0\0\0");
    let grpc_web = http::HeaderValue::from_static("application/grpc-web+proto");
    call.headers_mut().insert("content-type", grpc_web);
    let answer = client.start(call).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(
        body.contains("x-service-a: 1") || body.contains("x-service-a:1"),
        "{body}"
    );
    assert!(
        !body.contains("x-service-b") && !body.contains("x-http"),
        "{body}"
    );
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let upstream = Upstream::start(Script::Echo(Default::default())).await;
    let mut client = Client::connect(&upstream, Options::default());
    let get = client.send(request("GET", "/v1/things/7", "")).await;
    let head = client.send(request("HEAD", "/v1/things/7", "")).await;
    assert_eq!(head.status, StatusCode::OK);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(upstream.last_call().0, "/test.v1.Things/Get");

    let answer = client.send(request("HEAD", "/v1/ping", "")).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = client.send(request("PATCH", "/v1/things/7", "")).await;
    let allow = "DELETE, GET, HEAD, LOCK, PUT";
    assert_eq!(answer.header("allow"), Some(allow));
}
