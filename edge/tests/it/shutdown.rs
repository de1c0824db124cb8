//! SIGTERM: what is in flight ends whole, nothing new is begun, and the process goes when the last
//! answer is out.

use bytes::Bytes;
use http::Method;
use rustix::process::Signal;

use crate::client::{Client, Download, Protocol};
use crate::harness::waiting::until;
use crate::matrix::World;

const BODY: u64 = 4 * 1024 * 1024;

/// A download of which the second part waits for the origin's gate.
async fn half_way(world: &World, protocol: Protocol) -> (Client, Download) {
    let mut client = world.client(protocol).await;
    let (_, pending) = client
        .open(Method::GET, &format!("/gated/{BODY}"), &[], false)
        .await
        .expect("a stream");
    let (head, download) = pending.head().await.expect("an answer");
    assert_eq!(head.status, 200, "{protocol:?}");
    (client, download)
}

async fn is_draining(world: &World) {
    until("readiness to turn red", || async {
        (world.edge.admin("/readyz").await.0 == 503).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_end_whole() {
    let mut world = World::start().await;
    assert_eq!(world.edge.admin("/readyz").await.0, 200);
    let mut downloads = Vec::new();
    for protocol in Protocol::ALL {
        for _ in 0..3 {
            downloads.push((protocol, half_way(&world, protocol).await));
        }
    }
    world.edge.signal(Signal::TERM);
    is_draining(&world).await;
    assert_eq!(world.edge.admin("/livez").await.0, 200);
    for protocol in Protocol::ALL {
        let fresh = Client::connect_to(protocol, world.edge.https).await;
        assert!(fresh.is_err(), "{protocol:?}: no new connections");
    }
    assert!(world.edge.is_running(), "answers are still owed");
    world.origin.open_gate();
    for (protocol, (_client, mut download)) in downloads {
        let received = download.check().await.expect("a whole body");
        assert_eq!(
            (received.bytes, received.is_intact()),
            (BODY, true),
            "{protocol:?}"
        );
    }
    let ended = world.edge.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("\"drained\""), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_in_flight_end_whole() {
    let world = World::start().await;
    let mut uploads = Vec::new();
    for (number, protocol) in Protocol::ALL.into_iter().enumerate() {
        let mut client = world.client(protocol).await;
        let (mut upload, pending) = client
            .open(Method::POST, "/count", &[], true)
            .await
            .expect("a stream");
        upload
            .send(Bytes::from_static(&[0; 100]))
            .await
            .expect("the edge reads");
        let expected = (number as u64 + 1) * 100;
        world
            .origin
            .wait("the first part", |record| record.upload_bytes == expected)
            .await;
        uploads.push((protocol, client, upload, pending));
    }
    world.edge.signal(Signal::TERM);
    is_draining(&world).await;
    for (protocol, _client, mut upload, pending) in uploads {
        upload
            .send(Bytes::from_static(&[0; 100]))
            .await
            .expect("the edge reads");
        upload.finish().await.expect("the edge reads to the end");
        let (head, _) = pending.head().await.expect("an answer");
        assert_eq!(head.status, 200, "{protocol:?}");
    }
    assert_eq!(world.origin.record().upload_bytes, 600);
    assert_eq!(world.edge.ended().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http1_answer_while_draining_closes_its_connection() {
    let world = World::start().await;
    let mut waiting = world.client(Protocol::H1).await;
    let (_, pending) = waiting
        .open(Method::GET, "/fresh-gated/drain", &[], false)
        .await
        .expect("a stream");
    world
        .origin
        .wait("the request", |record| record.count("/fresh-gated") == 1)
        .await;
    world.edge.signal(Signal::TERM);
    is_draining(&world).await;
    world.origin.open_gate();
    let (head, mut download) = pending.head().await.expect("an answer");
    assert_eq!(head.status, 200);
    assert_eq!(
        head.headers.get("connection").map(|value| value.as_bytes()),
        Some(&b"close"[..])
    );
    assert_eq!(
        download.chunk().await.expect("a body").expect("a body"),
        "/fresh-gated/drain"
    );
    assert_eq!(world.edge.ended().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_edge_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let world = World::start().await;
        world.edge.signal(signal);
        let ended = world.edge.ended().await;
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{signal:?}"
        );
    }
}

/// Idle connections owe nobody an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_hold_the_edge() {
    let world = World::start().await;
    let mut idle = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
        idle.push(client);
        // And one that never asked for anything.
        idle.push(world.client(protocol).await);
    }
    world.edge.signal(Signal::TERM);
    let ended = world.edge.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("\"drained\""),
        "idle connections ran into the deadline: {ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_never_end_are_cut_at_the_deadline() {
    let files = crate::harness::files::Files::new();
    let origin = crate::upstream::Origin::h1().await;
    let policy = format!(
        "version: 1\nclusters: [{{ name: origin, endpoints: [\"{}\"] }}]\nroutes: [{{ name: all, matches: [{{ path: {{ prefix: / }} }}], cluster: origin }}]\n",
        origin.address
    );
    files.write_policy("all.yaml", &policy);
    let edge = crate::harness::Edge::start_with(files, &["--drain-seconds", "1"]).await;
    let mut downloads = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        let (_, pending) = client
            .open(Method::GET, "/stall/x", &[], false)
            .await
            .expect("a stream");
        downloads.push((protocol, pending.head().await.expect("an answer").1, client));
    }
    edge.signal(Signal::TERM);
    assert_eq!(edge.ended().await.code, Some(0));
    for (protocol, mut download, _client) in downloads {
        assert!(
            download.check().await.is_err(),
            "{protocol:?}: a cut answer never looks whole"
        );
    }
}
