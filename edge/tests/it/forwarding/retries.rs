//! Tries after one that failed: each cause, each method, and the body again.

use http::Method;
use tokio::net::TcpListener;

use super::{access_line, client, files_with_descriptors, post, retries, start, start_retrying};
use crate::client::Protocol;
use crate::harness::Edge;
use crate::upstream::grpc::{Greeter, HELLO};
use crate::upstream::pattern::whole;
use crate::upstream::raw::RawOrigin;
use crate::upstream::{Origin, refusing};

/// Reads the head alone, so that a body may find its connection closed.
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_is_listed_is_tried_elsewhere() {
    for (speaks, bad, good) in [
        ("http1", Origin::h1().await, Origin::h1().await),
        ("http2", Origin::h2().await, Origin::h2().await),
    ] {
        let rule = "{ on: [502, 503, 504] }";
        let edge = start_retrying(&[bad.address, good.address], speaks, rule).await;
        for status in [502, 503, 504] {
            bad.switch(status);
            for protocol in Protocol::ALL {
                let mut client = client(&edge, protocol).await;
                let response = client.get("/switch").await;
                assert_eq!(response.status, 200, "{speaks} {status} {protocol:?}");
                let line = access_line(&edge, &response).await;
                assert_eq!(
                    line["attempts"], 2,
                    "{speaks} {status} {protocol:?}: {line}"
                );
                assert_eq!(line["upstream"], good.address.to_string(), "{line}");
            }
            assert_eq!(retries(&edge, &status.to_string()).await, 3.0, "{speaks}");
        }
        // Each request asked the bad one first, since two picks are a whole turn.
        assert_eq!(bad.record().count("/switch"), 9, "{speaks}");
        assert_eq!(good.record().count("/switch"), 9, "{speaks}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_listed_is_the_clients_answer() {
    let origin = Origin::h1().await;
    origin.switch(502);
    for rule in ["{ on: [503, reset, timeout], attempts: 5 }", "off"] {
        let edge = start_retrying(&[origin.address], "http1", rule).await;
        for protocol in Protocol::ALL {
            let before = origin.record().count("/switch");
            let mut client = client(&edge, protocol).await;
            assert_eq!(
                client.get("/switch").await.status,
                502,
                "{protocol:?} {rule}"
            );
            assert_eq!(origin.record().count("/switch"), before + 1, "{rule}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_without_an_answer_is_a_reset() {
    for answer in ["", "nonsense\r\n\r\n"] {
        let (broken, good) = (RawOrigin::answering(answer).await, Origin::h1().await);
        let endpoints = [broken.address, good.address];
        let edge = start_retrying(&endpoints, "http1", "{ on: [reset] }").await;
        for protocol in Protocol::ALL {
            let mut client = client(&edge, protocol).await;
            for method in [Method::GET, Method::DELETE, Method::PUT] {
                let sent = client.send(method.clone(), "/echo", &[], "").await;
                let response = sent.expect("an answer");
                assert_eq!(response.json()["method"], method.as_str(), "{protocol:?}");
            }
        }
        assert_eq!(retries(&edge, "reset").await, 9.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_of_one_try_is_not_the_end_of_the_request() {
    // Connects by the backlog, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let good = Origin::h1().await;
    let endpoints = [silent.local_addr().expect("an address"), good.address];
    let rule = "{ on: [timeout], per_try_timeout: 300ms }";
    let edge = start_retrying(&endpoints, "http1", rule).await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
    }
    assert_eq!(retries(&edge, "timeout").await, 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_cannot_be_made_costs_no_method_its_try() {
    let ((_held, dead), good) = (refusing(), Origin::h1().await);
    let endpoints = [dead, good.address];
    let edge = start_retrying(&endpoints, "http1", "{ on: [connect_failure] }").await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        // Nothing was sent: a POST is no worse than a GET.
        assert_eq!(
            post(&mut client, "/echo", "body").await.json()["body"],
            "body"
        );
        assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
    }
    assert_eq!(retries(&edge, "connect_failure").await, 6.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_methods_that_may_be_repeated_are() {
    let origin = Origin::h1().await;
    origin.switch(503);
    for (rule, tries) in [
        (
            "{ attempts: 2 }",
            [("GET", 3), ("PUT", 3), ("POST", 1), ("PATCH", 1)],
        ),
        (
            "{ attempts: 2, methods: [GET, POST] }",
            [("GET", 3), ("PUT", 1), ("POST", 3), ("PATCH", 1)],
        ),
    ] {
        let edge = start_retrying(&[origin.address], "http1", rule).await;
        for (method, tries) in tries {
            for protocol in Protocol::ALL {
                let before = origin.record().count("/switch");
                let method: Method = method.parse().expect("a method");
                let mut client = client(&edge, protocol).await;
                let sent = client.send(method.clone(), "/switch", &[], "").await;
                assert_eq!(sent.expect("an answer").status, 503);
                let after = origin.record().count("/switch");
                assert_eq!(after - before, tries, "{method} {protocol:?} {rule}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_sent_again_from_its_beginning() {
    for (speaks, bad, good) in [
        ("http1", Origin::h1().await, Origin::h1().await),
        ("http2", Origin::h2().await, Origin::h2().await),
    ] {
        // Reads the whole body before it refuses.
        bad.switch(503);
        let endpoints = [bad.address, good.address];
        let edge = start_retrying(&endpoints, speaks, "{ methods: [POST] }").await;
        for protocol in Protocol::ALL {
            let mut client = client(&edge, protocol).await;
            for length in [1, 1_000, 60_000] {
                let response = post(&mut client, "/count-switch", whole(length)).await;
                let told = response.json();
                assert_eq!(told["bytes"], length, "{speaks} {protocol:?}: {told}");
                assert_eq!(told["intact"], true, "{speaks} {protocol:?} {length}");
                let line = access_line(&edge, &response).await;
                assert_eq!(line["attempts"], 2, "{speaks} {protocol:?}: {line}");
            }
        }
        assert_eq!(bad.record().uploads_complete, 9, "{speaks}");
        assert_eq!(good.record().uploads_broken, 0, "{speaks}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_kept_is_not_sent_again() {
    let origin = Origin::h1().await;
    origin.switch(503);
    let rule = "{ attempts: 3, methods: [POST] }";
    let edge = start_retrying(&[origin.address], "http1", rule).await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        let response = post(&mut client, "/count-switch", whole(70_000)).await;
        assert_eq!(response.status, 503, "{protocol:?}");
        let line = access_line(&edge, &response).await;
        assert_eq!(line["attempts"], 1, "{protocol:?}: {line}");
    }
    assert_eq!(origin.record().upload_bytes, 3 * 70_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_in_the_middle_of_a_body_loses_none_of_it() {
    let (bad, good) = (RawOrigin::answering(BUSY).await, Origin::h1().await);
    let rule = "{ on: [503, reset], methods: [POST] }";
    let edge = start_retrying(&[bad.address, good.address], "http1", rule).await;
    for protocol in Protocol::ALL {
        for length in [1_000, 60_000] {
            let mut client = client(&edge, protocol).await;
            let told = post(&mut client, "/count", whole(length)).await.json();
            assert_eq!(told["bytes"], length, "{protocol:?}: {told}");
            assert_eq!(told["intact"], true, "{protocol:?}: {told}");
        }
    }
    assert_eq!(good.record().uploads_broken, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_a_later_try_is_stored() {
    let (bad, good) = (RawOrigin::answering(BUSY).await, Origin::h1().await);
    let edge = start(
        &[("origin", &[bad.address, good.address], "ejection: off")],
        "cluster: origin, cache: {}, retries: {}",
    )
    .await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        let target = format!("/fresh/{protocol:?}");
        for status in ["palisade; fwd=uri-miss; stored", "palisade; hit"] {
            let response = client.get(&target).await;
            assert_eq!(response.status, 200, "{protocol:?}: {response:?}");
            let told = response.header("cache-status").expect("cache-status");
            assert!(told.starts_with(status), "{protocol:?}: {told}");
        }
        assert_eq!(good.record().count(&target), 1, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_repeated_where_post_is() {
    let greeter = Greeter::start().await;
    let frame = super::mirror::hello("busy");
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    for (rule, tries) in [
        ("{ on: [503], methods: [POST], attempts: 2 }", 3),
        ("{ on: [503], attempts: 2 }", 1),
        ("{ on: [502, 504, reset], methods: [POST], attempts: 2 }", 1),
    ] {
        let edge = start_retrying(&[greeter.address], "grpc", rule).await;
        for protocol in [Protocol::H2, Protocol::H3] {
            let mut client = client(&edge, protocol).await;
            let sent = client.send(Method::POST, HELLO, &grpc, frame.clone()).await;
            let response = sent.expect("an answer");
            assert_eq!(response.header("grpc-status"), Some("14"), "{response:?}");
            let line = access_line(&edge, &response).await;
            assert_eq!(line["attempts"], tries, "{protocol:?} {rule}: {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn translated_calls_are_repeated_as_what_they_look_like() {
    let (one, other) = (Greeter::start().await, Greeter::start().await);
    let clusters = format!(
        "version: 1\nclusters:\n  - {{ name: origin, endpoints: [\"{}\", \"{}\"], protocol: grpc, descriptors: ../greeter.pb, ejection: off }}\n",
        one.address, other.address
    );
    let routes = "version: 1\nroutes:\n  - { name: all, matches: [{ path: { prefix: /v1 } }], translate: true, cluster: origin, retries: { on: [503] } }\n";
    let files = files_with_descriptors(&clusters, routes);
    let edge = Edge::start_with(files, &[]).await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        let response = client.get("/v1/greetings/busy").await;
        assert_eq!(response.status, 503, "{protocol:?}: {response:?}");
    }
    assert_eq!((one.calls(), other.calls()), (3, 3));
    assert_eq!(retries(&edge, "503").await, 3.0);
}
