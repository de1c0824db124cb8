//! Calls that end in the middle: by the upstream, by the client, by a bound.

use http::Method;
use palisade_echo::proto::{CountRequest, FailRequest};
use prost::Message;

use super::dialect::{Dialect, frame};
use super::{SERVICE, World};
use crate::client::{Client, Protocol, Response};
use crate::harness::waiting::until;

const ROUTES: &str = "
routes:
  - { name: short, matches: [{ path: { prefix: /palisade.echo.v1.EchoService }, headers: { x-short: \"1\" } }], response_body_max: 64KiB, translate: true, cluster: echo }
  - { name: echo, matches: [{ path: { prefix: /palisade.echo.v1.EchoService } }], translate: true, cluster: echo }
  - { name: origin, matches: [{ path: { prefix: /cut } }], cluster: origin }
";
const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];
const MULTIPLEXED: [Protocol; 2] = [Protocol::H2, Protocol::H3];

fn forever(padding_bytes: u32) -> CountRequest {
    CountRequest {
        from: 1,
        padding_bytes,
        ..CountRequest::default()
    }
}

/// What followed the head, to the end.
async fn rest(client: &mut Client, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
    let fields = [&GRPC, fields].concat();
    let sent = client.send(Method::POST, path, &fields, frame(body)).await;
    sent.unwrap_or_else(|broken| panic!("{path}: {broken:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_answer_that_breaks_off_ends_with_a_status() {
    let world = World::start(ROUTES).await;
    for protocol in MULTIPLEXED {
        let mut client = world.client(protocol).await;
        // A reset of HTTP/2 may overtake the head, and then there is no answer at all.
        let answer = rest(&mut client, "/cut/chunked", &[], b"").await;
        assert_eq!(answer.status, 200, "{protocol:?}: {answer:?}");
        let failure = Dialect::Grpc.failure(&answer);
        assert_eq!(failure.code, "unavailable", "{protocol:?}: {answer:?}");
        assert_eq!(failure.reason.as_deref(), Some("bad_upstream"));

        let count = format!("{SERVICE}/Count");
        let asked = forever(1_000).encode_to_vec();
        let answer = rest(&mut client, &count, &[("x-short", "1")], &asked).await;
        let trailers = answer.trailers.as_ref().expect("trailers");
        assert!(trailers.contains_key("grpc-status"), "{protocol:?}");
        let failure = Dialect::Grpc.failure(&answer);
        assert_eq!(failure.code, "resource_exhausted", "{protocol:?}");
        assert_eq!(failure.reason.as_deref(), Some("response_too_large"));
        world.upstream.idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_fails_in_the_middle_is_believed() {
    let world = World::start(ROUTES).await;
    let count = format!("{SERVICE}/Count");
    let asked = CountRequest {
        fail_after: 3,
        fail: Some(FailRequest {
            code: 10,
            reason: "LOST".to_owned(),
            ..FailRequest::default()
        }),
        ..forever(0)
    };
    for protocol in Protocol::ALL {
        for dialect in [Dialect::Grpc, Dialect::GrpcWeb, Dialect::ConnectStream] {
            if !dialect.runs_over(protocol) {
                continue;
            }
            let mut client = world.client(protocol).await;
            let answer = dialect.call(&mut client, &count, &[], &asked).await;
            let answer = answer.expect("an answer");
            let failure = dialect.failure(&answer);
            let what = format!("{protocol:?} {dialect:?}: {answer:?}");
            assert_eq!(failure.code, "aborted", "{what}");
            assert_eq!(failure.reason.as_deref(), Some("LOST"), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_ends_its_call() {
    let world = World::start(ROUTES).await;
    let count = format!("{SERVICE}/Count");
    let body = frame(&forever(1_000).encode_to_vec());
    let length = body.len().to_string();
    for protocol in Protocol::ALL {
        for dialect in [Dialect::Grpc, Dialect::GrpcWeb, Dialect::ConnectStream] {
            if !dialect.runs_over(protocol) {
                continue;
            }
            let mut client = world.client(protocol).await;
            let fields = [
                ("content-type", dialect.content_type()),
                ("content-length", &length),
            ];
            let opened = client.open(Method::POST, &count, &fields, true).await;
            let (mut upload, pending) = opened.expect("a stream");
            upload.send(body.clone()).await.expect("the edge reads");
            upload.finish().await.expect("the edge reads to the end");
            let (head, mut download) = pending.head().await.expect("an answer");
            assert_eq!(head.status, 200, "{protocol:?} {dialect:?}");
            download.chunk().await.expect("a piece");
            assert_eq!(world.upstream.echo.under_way(), 1);
            download.abort();
            client.disconnect();
            until("the call to end", || async {
                (world.upstream.echo.under_way() == 0).then_some(())
            })
            .await;
        }
    }
}
