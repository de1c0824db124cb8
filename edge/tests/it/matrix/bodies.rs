//! Bodies: large ones whole and intact both ways, broken ones visibly broken, unwanted ones stopped.

use http::Method;
use serde_json::json;

use super::World;
use crate::client::Protocol;
use crate::upstream::Origin;
use crate::upstream::pattern::piece;

const LARGE: u64 = 50 * 1024 * 1024;
const PIECE: usize = 32 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_mebibytes_come_down_intact() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        for kind in ["bytes", "chunked"] {
            let mut client = world.client(protocol).await;
            let (_, pending) = client
                .open(Method::GET, &format!("/{kind}/{LARGE}"), &[], false)
                .await
                .expect("a stream");
            let (head, mut download) = pending.head().await.expect("an answer");
            assert_eq!(head.status, 200, "{protocol:?} {kind}");
            let declared = head
                .headers
                .get("content-length")
                .map(|length| length.to_str().expect("text").to_owned());
            assert_eq!(
                declared,
                (kind == "bytes").then(|| LARGE.to_string()),
                "{protocol:?} {kind}"
            );
            let received = download.check().await.expect("a whole body");
            assert_eq!(
                (received.bytes, received.is_intact()),
                (LARGE, true),
                "{protocol:?} {kind}"
            );
        }
    }
}

async fn upload(world: &World, protocol: Protocol, headers: &[(&str, &str)]) {
    let mut client = world.client(protocol).await;
    let (mut upload, pending) = client
        .open(Method::POST, "/count", headers, true)
        .await
        .expect("a stream");
    let sending = async {
        let mut sent = 0;
        while sent < LARGE {
            upload
                .send(piece(sent, PIECE))
                .await
                .expect("the edge reads");
            sent += PIECE as u64;
        }
        upload.finish().await.expect("the edge reads to the end");
    };
    let (response, ()) = tokio::join!(pending.head(), sending);
    let (head, mut download) = response.expect("an answer");
    assert_eq!(head.status, 200, "{protocol:?}");
    let body = download.chunk().await.expect("a body").expect("a body");
    let counted: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        counted,
        json!({ "bytes": LARGE, "intact": true }),
        "{protocol:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_mebibytes_go_up_intact() {
    let world = World::start().await;
    let length = LARGE.to_string();
    for protocol in Protocol::ALL {
        upload(&world, protocol, &[("content-length", &length)]).await;
        upload(&world, protocol, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_h2_upstream_carries_large_bodies_too() {
    let world = World::start_with(Origin::h2().await, "http2").await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let (_, pending) = client
            .open(Method::GET, &format!("/bytes/{LARGE}"), &[], false)
            .await
            .expect("a stream");
        let received = pending
            .head()
            .await
            .expect("an answer")
            .1
            .check()
            .await
            .expect("a whole body");
        assert_eq!(
            (received.bytes, received.is_intact()),
            (LARGE, true),
            "{protocol:?}"
        );
        upload(&world, protocol, &[]).await;
    }
    assert!(
        world
            .origin
            .record()
            .requests
            .iter()
            .all(|seen| seen.version == http::Version::HTTP_2)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_stops_the_upstream() {
    for (speaks, origin) in [("http1", Origin::h1().await), ("http2", Origin::h2().await)] {
        let world = World::start_with(origin, speaks).await;
        let mut aborted = 0;
        for protocol in Protocol::ALL {
            for target in ["/stall/x", "/hang"] {
                for disconnect in [false, true] {
                    let what = format!("{protocol:?} {speaks} {target} disconnect={disconnect}");
                    let seen = world.origin.record().requests.len();
                    let mut client = world.client(protocol).await;
                    let (_, pending) = client
                        .open(Method::GET, target, &[], false)
                        .await
                        .expect("a stream");
                    world
                        .origin
                        .wait(&what, |record| record.requests.len() > seen)
                        .await;
                    if target == "/hang" {
                        pending.abort();
                    } else {
                        let (_, mut download) = pending.head().await.expect("an answer");
                        download.chunk().await.expect("a first piece");
                        download.abort();
                    }
                    if disconnect {
                        client.disconnect();
                    }
                    aborted += 1;
                    world
                        .origin
                        .wait(&what, |record| record.responses_aborted >= aborted)
                        .await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_breaks_off_is_broken_upstream() {
    let world = World::start().await;
    for (number, protocol) in Protocol::ALL.into_iter().enumerate() {
        for (half, headers) in [[].as_slice(), &[("content-length", "1000000")]]
            .into_iter()
            .enumerate()
        {
            let before = world.origin.record().upload_bytes;
            let mut client = world.client(protocol).await;
            let (mut upload, _pending) = client
                .open(Method::POST, "/count", headers, true)
                .await
                .expect("a stream");
            upload.send(piece(0, PIECE)).await.expect("the edge reads");
            world
                .origin
                .wait("the first piece", |record| record.upload_bytes > before)
                .await;
            upload.abort();
            let broken = number * 2 + half + 1;
            world
                .origin
                .wait(&format!("{protocol:?} upload {broken}"), |record| {
                    record.uploads_broken >= broken
                })
                .await;
        }
    }
    assert_eq!(world.origin.record().uploads_complete, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_breaks_off_never_looks_complete() {
    for (speaks, origin) in [("http1", Origin::h1().await), ("http2", Origin::h2().await)] {
        let world = World::start_with(origin, speaks).await;
        for protocol in Protocol::ALL {
            for target in ["/cut/length", "/cut/chunked"] {
                let mut client = world.client(protocol).await;
                let (_, pending) = client
                    .open(Method::GET, target, &[], false)
                    .await
                    .expect("a stream");
                // Cut before its head was passed on, it may become a 502.
                let Ok((head, mut download)) = pending.head().await else {
                    continue;
                };
                let received = download.check().await;
                let honest = received.is_err() || head.status == 502;
                assert!(
                    honest,
                    "{protocol:?} {speaks} {target}: {head:?} {received:?}"
                );
            }
            let mut client = world.client(protocol).await;
            assert_eq!(
                client.get("/echo").await.status,
                200,
                "{protocol:?}: the edge goes on"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_statuses_of_the_upstream_pass_as_they_are() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for status in [204, 304, 400, 404, 418, 500, 502] {
            let response = client.get(&format!("/status/{status}")).await;
            assert_eq!(
                (response.status, response.body.len()),
                (status, 0),
                "{protocol:?}"
            );
        }
    }
}
