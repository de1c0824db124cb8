//! gRPC through the edge, REST to gRPC by it, and its refusals in gRPC's own terms.

use bytes::{BufMut, Bytes, BytesMut};
use http::Method;
use prost::Message;
use serde_json::json;

use super::World;
use crate::client::{Protocol, Response};
use crate::upstream::grpc::{CHAT, HELLO, HelloReply, HelloRequest};

const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];
/// gRPC is defined over HTTP/2; HTTP/3 carries it the same way.
const MULTIPLEXED: [Protocol; 2] = [Protocol::H2, Protocol::H3];

/// A length-prefixed message.
fn message(name: &str) -> Bytes {
    let request = HelloRequest {
        name: name.to_owned(),
        language: String::new(),
    };
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(request.encoded_len()).expect("short"));
    request.encode(&mut frame).expect("room");
    frame.freeze()
}

fn reply(frame: &[u8]) -> String {
    HelloReply::decode(frame.get(5..).expect("a prefix"))
        .expect("a message")
        .message
}

/// `grpc-status` and `grpc-message`, from the trailers or from a trailers-only head.
fn outcome(response: &Response) -> (String, Option<String>) {
    let fields = response
        .trailers
        .as_ref()
        .filter(|trailers| !trailers.is_empty())
        .unwrap_or(&response.headers);
    let text = |name: &str| {
        fields
            .get(name)
            .map(|value| value.to_str().expect("text").to_owned())
    };
    (
        text("grpc-status").unwrap_or_else(|| panic!("no grpc-status: {response:?}")),
        text("grpc-message"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unary_calls_end_with_trailers() {
    let world = World::start().await;
    for protocol in MULTIPLEXED {
        let mut client = world.client(protocol).await;
        let response = client
            .send(Method::POST, HELLO, &GRPC, message("ada"))
            .await
            .expect("an answer");
        assert_eq!(
            (response.status, response.header("content-type")),
            (200, Some("application/grpc")),
            "{protocol:?}"
        );
        assert_eq!(reply(&response.body), "hello ada", "{protocol:?}");
        assert_eq!(
            response.header("grpc-status"),
            None,
            "{protocol:?}: the status comes last"
        );
        let trailers = response.trailers.expect("trailers");
        assert_eq!(trailers["grpc-status"], "0", "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_service_and_of_the_edge_are_grpc_statuses() {
    let world = World::start().await;
    for protocol in MULTIPLEXED {
        let mut client = world.client(protocol).await;
        let cases = [
            (HELLO, "nobody", "5", Some("no%20such%20person")),
            ("/test.v1.Greeter/Nothing", "ada", "12", None),
            ("/test.v1.Private/Hello", "ada", "16", None),
            ("/no.such.Service/Hello", "ada", "12", None),
        ];
        for (path, name, status, text) in cases {
            let response = client
                .send(Method::POST, path, &GRPC, message(name))
                .await
                .expect("an answer");
            assert_eq!(response.status, 200, "{protocol:?} {path}");
            let (code, said) = outcome(&response);
            assert_eq!(code, status, "{protocol:?} {path}: {response:?}");
            assert!(
                text.is_none() || said.as_deref() == text,
                "{protocol:?} {path}: {said:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_flow_both_ways_at_once() {
    let world = World::start().await;
    for protocol in MULTIPLEXED {
        let mut client = world.client(protocol).await;
        let (mut upload, pending) = client
            .open(Method::POST, CHAT, &GRPC, true)
            .await
            .expect("a stream");
        upload.send(message("ada")).await.expect("the edge reads");
        let (head, mut download) = pending
            .head()
            .await
            .expect("an answer before the request ends");
        assert_eq!(head.status, 200, "{protocol:?}");
        for next in ["bob", "cleo"] {
            let before = download.chunk().await.expect("a reply").expect("a reply");
            assert!(reply(&before).starts_with("hello "), "{protocol:?}");
            upload.send(message(next)).await.expect("the edge reads");
        }
        let last = download.chunk().await.expect("a reply").expect("a reply");
        assert_eq!(reply(&last), "hello cleo", "{protocol:?}");
        upload.finish().await.expect("the edge reads to the end");
        assert!(
            download.chunk().await.expect("an end").is_none(),
            "{protocol:?}"
        );
        let trailers = download
            .trailers()
            .await
            .expect("trailers")
            .expect("trailers");
        assert_eq!(trailers["grpc-status"], "0", "{protocol:?}");
    }
}

/// gRPC needs trailers, so over HTTP/1.1 it has no meaning; what counts is that the edge stays whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_over_http1_is_answered_and_harms_nothing() {
    let world = World::start().await;
    let mut client = world.client(Protocol::H1).await;
    for name in ["ada", "nobody"] {
        let response = client
            .send(Method::POST, HELLO, &GRPC, message(name))
            .await
            .expect("a whole answer");
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(
            response.header("content-type"),
            Some("application/grpc"),
            "{response:?}"
        );
    }
    assert_eq!(
        client.get("/echo").await.status,
        200,
        "the connection goes on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_calls_become_grpc_calls() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let got = client.get("/v1/greetings/ada?language=de").await;
        assert_eq!(
            (got.status, got.json()),
            (200, json!({ "message": "hallo ada" })),
            "{protocol:?}"
        );
        assert_eq!(
            got.header("content-type"),
            Some("application/json"),
            "{protocol:?}"
        );
        let json_type = [("content-type", "application/json")];
        let body = json!({ "name": "bob" }).to_string();
        let posted = client
            .send(Method::POST, "/v1/greetings", &json_type, body)
            .await
            .expect("an answer");
        assert_eq!(
            posted.json(),
            json!({ "message": "hello bob" }),
            "{protocol:?}"
        );

        let missing = client.get("/v1/greetings/nobody").await;
        missing.assert_problem(404, "not_found");
        assert_eq!(missing.json()["detail"], "no such person", "{protocol:?}");
        let unbound = client.get("/v1/nothing").await;
        assert_eq!(unbound.status, 404, "{protocol:?}: {unbound:?}");
        let broken = client
            .send(Method::POST, "/v1/greetings", &json_type, "{\"name\":")
            .await
            .expect("an answer");
        assert_eq!(
            (broken.status, broken.header("content-type")),
            (400, Some("application/problem+json")),
            "{protocol:?}"
        );
        let unknown = client.get("/v1/greetings/ada?colour=red").await;
        assert_eq!(unknown.status, 400, "{protocol:?}: {unknown:?}");
        let bug = client.get("/v1/greetings/bug").await;
        assert_eq!(bug.status, 500, "{protocol:?}");
        assert!(
            !String::from_utf8_lossy(&bug.body).contains("database"),
            "{protocol:?}: {bug:?}"
        );
        let head = client
            .send(Method::HEAD, "/v1/greetings/ada", &[], Bytes::new())
            .await
            .expect("an answer");
        assert_eq!((head.status, head.body.len()), (200, 0), "{protocol:?}");
    }
}
