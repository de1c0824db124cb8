//! A mirror costs the client nothing: dead, slow, full, or given more than it takes.

use http::Method;
use tokio::net::TcpListener;

use super::mirror::{outcome, wait_for};
use super::{client, post, start};
use crate::client::Protocol;
use crate::harness::waiting::within;
use crate::upstream::pattern::{piece, whole};
use crate::upstream::{Origin, refusing};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_mirror_is_nobodys_problem() {
    let ((_held, dead), origin) = (refusing(), Origin::h1().await);
    let edge = start(
        &[
            ("origin", &[origin.address], ""),
            ("lab", &[dead], "connect_retries: 8"),
        ],
        "cluster: origin, mirror: { cluster: lab }",
    )
    .await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
        let told = post(&mut client, "/count", whole(10_000)).await.json();
        assert_eq!(told["intact"], true, "{protocol:?}");
    }
    wait_for(&edge, "failed", 6.0).await;
    assert_eq!(origin.record().requests.len(), 6, "nothing is tried again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_mirror_is_given_up_by_its_own_timeouts() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent_at = silent.local_addr().expect("an address");
    let origin = Origin::h1().await;
    let edge = start(
        &[
            ("origin", &[origin.address], ""),
            ("lab", &[silent_at], "timeouts: { read: 200ms }"),
        ],
        "cluster: origin, mirror: { cluster: lab }",
    )
    .await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
    }
    wait_for(&edge, "failed", 3.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_is_full_is_passed_by() {
    let (origin, lab) = (Origin::h1().await, Origin::h1().await);
    origin.open_gate();
    let edge = start(
        &[
            ("origin", &[origin.address], ""),
            ("lab", &[lab.address], ""),
        ],
        "cluster: origin, mirror: { cluster: lab }",
    )
    .await;
    let mut client = client(&edge, Protocol::H2).await;
    for _ in 0..105 {
        // The mirror answers none of its copies yet.
        assert_eq!(client.get("/count-gated").await.status, 200);
    }
    assert_eq!(outcome(&edge, "dropped").await, 5.0);
    assert_eq!(outcome(&edge, "answered").await, 0.0);
    lab.open_gate();
    wait_for(&edge, "answered", 100.0).await;
    assert_eq!(client.get("/count-gated").await.status, 200);
    wait_for(&edge, "answered", 101.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn larger_bodies_are_not_copied() {
    let (origin, lab) = (Origin::h1().await, Origin::h1().await);
    let edge = start(
        &[
            ("origin", &[origin.address], ""),
            ("lab", &[lab.address], ""),
        ],
        "cluster: origin, mirror: { cluster: lab, body_max: 1000B }",
    )
    .await;
    let mut too_large = 0.0;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        assert_eq!(
            post(&mut client, "/count/fits", whole(1_000)).await.status,
            200
        );
        assert_eq!(
            post(&mut client, "/count/announced", whole(1_001))
                .await
                .status,
            200
        );
        let opened = client
            .open(Method::POST, "/count/unannounced", &[], true)
            .await;
        let (mut upload, pending) = opened.expect("a stream");
        for part in 0..2 {
            upload
                .send(piece(part * 600, 600))
                .await
                .expect("the edge reads");
        }
        upload.finish().await.expect("the edge reads");
        let (head, mut download) = within("an answer", pending.head())
            .await
            .expect("an answer");
        assert_eq!(head.status, 200, "{protocol:?}");
        while download.chunk().await.expect("a whole answer").is_some() {}
        too_large += 2.0;
        assert_eq!(outcome(&edge, "too_large").await, too_large, "{protocol:?}");
    }
    wait_for(&edge, "answered", 3.0).await;
    let record = lab.record();
    assert_eq!(record.requests.len(), record.count("/count/fits"));
    assert_eq!(record.upload_bytes, 3_000);
    assert_eq!(origin.record().upload_bytes, 3 * (1_000 + 1_001 + 1_200));
}
