//! Copies for another cluster: what is in them, and whose they are.

use bytes::{BufMut, Bytes, BytesMut};
use http::Method;
use prost::Message;

use super::{client, files_with_descriptors, number, post, share, start};
use crate::client::Protocol;
use crate::harness::Edge;
use crate::upstream::grpc::{Greeter, HELLO, HelloRequest};
use crate::upstream::pattern::whole;
use crate::upstream::{Origin, Seen};

const MIRROR: &str = "cluster: origin, mirror: { cluster: lab }";

/// How many copies ended so.
pub(super) async fn outcome(edge: &Edge, outcome: &str) -> f64 {
    let series = format!("palisade_mirror_requests_total{{cluster=\"lab\",outcome=\"{outcome}\"}}");
    edge.metric(&series).await.unwrap_or(0.0)
}

/// Wait until so many have.
pub(super) async fn wait_for(edge: &Edge, name: &str, count: f64) {
    let what = format!("{count} copies to be {name}");
    crate::harness::waiting::until(what, || async {
        (outcome(edge, name).await >= count).then_some(())
    })
    .await;
}

/// A call of the greeter, framed.
pub(super) fn hello(name: &str) -> Bytes {
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

/// What both were told, but for what frames each message.
fn told(seen: &Seen) -> Vec<(String, String)> {
    let framing = ["content-length", "transfer-encoding", "connection", "host"];
    let fields = seen.headers.iter();
    let mut fields: Vec<_> = fields
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
        .filter(|(name, _)| !framing.contains(&&**name) && name != "x-palisade-mirror")
        .collect();
    fields.sort();
    fields
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_what_the_endpoint_got() {
    for (protocol_of_origin, protocol_of_lab) in
        [("http1", "http1"), ("http1", "http2"), ("http2", "http1")]
    {
        let start_origin = |speaks: &'static str| async move {
            if speaks == "http2" {
                Origin::h2().await
            } else {
                Origin::h1().await
            }
        };
        let origin = start_origin(protocol_of_origin).await;
        let lab = start_origin(protocol_of_lab).await;
        let (keys, lab_keys) = (
            format!("protocol: {protocol_of_origin}"),
            format!("protocol: {protocol_of_lab}"),
        );
        let edge = start(
            &[
                ("origin", &[origin.address], &keys),
                ("lab", &[lab.address], &lab_keys),
            ],
            "cluster: origin, mirror: { cluster: lab }, request_headers: { set: { x-edit: done } }",
        )
        .await;
        let mut copies = 0.0;
        for protocol in Protocol::ALL {
            let what = format!("{protocol:?} {protocol_of_origin} {protocol_of_lab}");
            let mut client = client(&edge, protocol).await;
            for (method, target, length) in [
                (Method::GET, "/echo/get?a=b", 0),
                (Method::DELETE, "/echo/delete", 0),
                (Method::POST, "/count/empty", 0),
                (Method::POST, "/count/some", 1_000),
                (Method::PUT, "/count/most", 64 * 1024),
            ] {
                let forged = [("x-palisade-mirror", "1"), ("x-own", "yes")];
                let sent = client.send(method, target, &forged, whole(length)).await;
                assert_eq!(sent.expect("an answer").status, 200, "{what} {target}");
                copies += 1.0;
                wait_for(&edge, "answered", copies).await;
                let (original, copy) = (origin.last(target), lab.last(target));
                assert_eq!(original.method, copy.method, "{what}");
                assert_eq!(told(&original), told(&copy), "{what} {target}");
                assert_eq!(copy.header("x-edit"), Some("done"), "{what}");
                assert_eq!(copy.header("x-own"), Some("yes"), "{what}");
                assert_eq!(copy.header("x-palisade-mirror"), Some("1"), "{what}");
                assert_eq!(original.header("x-palisade-mirror"), None, "{what}");
            }
        }
        assert_eq!(lab.record().upload_bytes, 3 * (1_000 + 64 * 1024));
        assert_eq!(lab.record().uploads_broken, 0);
        // Kept connections are used again.
        assert!(
            lab.record().connections <= 3,
            "{}",
            lab.record().connections
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_percent_are_copied_by_the_request_id() {
    let (origin, lab) = (Origin::h1().await, Origin::h1().await);
    let edge = start(
        &[
            ("origin", &[origin.address], ""),
            ("lab", &[lab.address], ""),
        ],
        "cluster: origin, mirror: { cluster: lab, percent: 30 }",
    )
    .await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        for _ in 0..60 {
            assert_eq!(client.get("/status/200").await.status, 200);
        }
    }
    let is_chosen = |seen: &Seen| {
        let id = seen.header("x-request-id").expect("a request id");
        share(number(id) & u128::from(u64::MAX), 100) < 30
    };
    let chosen = origin
        .record()
        .requests
        .iter()
        .filter(|seen| is_chosen(seen))
        .count();
    // 54 on average; five standard deviations.
    assert!(chosen.abs_diff(54) < 31, "{chosen}");
    wait_for(&edge, "answered", chosen as f64).await;
    assert_eq!(lab.record().requests.len(), chosen);
    assert!(lab.record().requests.iter().all(is_chosen));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_copied_once_however_often_it_is_tried() {
    let (bad, good, lab) = (Origin::h1().await, Origin::h1().await, Origin::h1().await);
    bad.switch(503);
    let edge = start(
        &[
            ("origin", &[bad.address, good.address], "ejection: off"),
            ("lab", &[lab.address], ""),
        ],
        "cluster: origin, mirror: { cluster: lab }, retries: { methods: [GET, POST] }",
    )
    .await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        assert_eq!(client.get("/switch").await.status, 200, "{protocol:?}");
        let told = post(&mut client, "/count-switch", whole(5_000))
            .await
            .json();
        assert_eq!(told["bytes"], 5_000, "{protocol:?}");
    }
    wait_for(&edge, "answered", 6.0).await;
    let record = lab.record();
    assert_eq!((record.requests.len(), record.upload_bytes), (6, 15_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_copied_and_translated_as_their_originals() {
    let (greeter, lab) = (Greeter::start().await, Greeter::start().await);
    let keys = "protocol: grpc, descriptors: ../greeter.pb";
    let clusters = format!(
        "version: 1\nclusters:\n  - {{ name: origin, endpoints: [\"{}\"], {keys} }}\n  - {{ name: lab, endpoints: [\"{}\"], {keys} }}\n",
        greeter.address, lab.address
    );
    let routes = format!(
        "version: 1\nroutes:\n  - {{ name: rest, matches: [{{ path: {{ prefix: /v1 }} }}], translate: true, {MIRROR} }}\n  - {{ name: grpc, matches: [{{ path: {{ prefix: / }} }}], {MIRROR} }}\n"
    );
    let edge = Edge::start_with(files_with_descriptors(&clusters, &routes), &[]).await;
    let mut copies = 0.0;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        let response = client.get("/v1/greetings/ada").await;
        assert_eq!(response.json()["message"], "hello ada", "{protocol:?}");
        let json = [("content-type", "application/json")];
        let sent = client
            .send(Method::POST, "/v1/greetings", &json, r#"{"name":"bob"}"#)
            .await;
        assert_eq!(sent.expect("an answer").json()["message"], "hello bob");
        copies += 2.0;
        if protocol != Protocol::H1 {
            let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
            let sent = client.send(Method::POST, HELLO, &grpc, hello("ada")).await;
            assert_eq!(sent.expect("an answer").status, 200, "{protocol:?}");
            copies += 1.0;
        }
        wait_for(&edge, "answered", copies).await;
    }
    assert_eq!(outcome(&edge, "failed").await, 0.0);
    assert_eq!(lab.calls(), 8);
}
