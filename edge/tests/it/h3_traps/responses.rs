//! Traps on the way out: how an answer ends, and what a client does that no longer wants it.

use http::Method;

use super::raw;
use crate::client::h3::H3Client;
use crate::client::raw_h3::{Outcome, headers};
use crate::client::{Client, Download, Protocol};
use crate::harness::waiting::until;
use crate::matrix::World;
use crate::upstream::behaviour::FIRST;
use crate::upstream::pattern::Checker;
use crate::upstream::raw::RawOrigin;

/// RFC 9114, 8.1.
const H3_INTERNAL_ERROR: u64 = 0x102;
/// More than sockets and windows hold, and less than the cache takes.
const SLOW_BYTES: u64 = 24 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_upstream_is_a_reset_and_not_an_end() {
    let world = World::start().await;
    let client = raw(&world).await;
    for target in ["/cut/length", "/cut/chunked"] {
        let outcome = client
            .request(headers(&client.head("GET", target)))
            .await
            .expect("a stream");
        assert_eq!(outcome, Outcome::Reset(H3_INTERNAL_ERROR), "{target}");
    }
    assert!(client.is_open());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_sending_reaches_the_upstream() {
    let world = World::start().await;
    let mut client = world.client(Protocol::H3).await;
    let (_, pending) = client
        .open(Method::GET, "/hang", &[], false)
        .await
        .expect("a stream");
    world
        .origin
        .wait("the request", |record| record.count("/hang") == 1)
        .await;
    pending.abort();
    world
        .origin
        .wait("the abort before a head", |record| {
            record.responses_aborted == 1
        })
        .await;

    let (_, pending) = client
        .open(Method::GET, "/stall/x", &[], false)
        .await
        .expect("a stream");
    let (_, mut download) = pending.head().await.expect("an answer");
    download.chunk().await.expect("a first piece");
    download.abort();
    world
        .origin
        .wait("the abort in a body", |record| {
            record.responses_aborted == 2
        })
        .await;
    assert_eq!(
        client.get("/echo").await.status,
        200,
        "the connection goes on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn informational_answers_pass_before_the_final_one() {
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let origin = RawOrigin::answering(early).await;
    let policy = format!(
        "version: 1\nclusters: [{{ name: early, endpoints: [\"{}\"] }}]\nroutes: [{{ name: early, matches: [{{ path: {{ prefix: / }} }}], cluster: early }}]\n",
        origin.address
    );
    let edge = crate::harness::Edge::start(&[("early.yaml", &policy)]).await;
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        let (_, pending) = client
            .open(Method::GET, "/early", &[], false)
            .await
            .expect("a stream");
        let (head, mut download) = pending.head().await.expect("an answer");
        assert_eq!(head.status, 200, "{protocol:?}");
        // Pingora drops informational answers toward h2 clients.
        let expected: &[u16] = if protocol == Protocol::H2 {
            &[]
        } else {
            &[103]
        };
        assert_eq!(head.informational, expected, "{protocol:?}");
        assert_eq!(
            download.chunk().await.expect("a body").expect("a body"),
            "ok",
            "{protocol:?}"
        );
        assert!(
            download.chunk().await.expect("an end").is_none(),
            "{protocol:?}"
        );
    }
}

/// Reads a first piece and then nothing, through a window that soon is full.
struct SlowReader {
    received: Checker,
    download: Download,
    _client: Client,
}

impl SlowReader {
    async fn start(world: &World, protocol: Protocol, target: &str) -> Self {
        let mut client = match protocol {
            Protocol::H3 => {
                let client = H3Client::connect(world.edge.https, Some(FIRST as u32)).await;
                Client::H3(client.expect("a connection"))
            }
            _ => world.client(protocol).await,
        };
        let (_, pending) = client
            .open(Method::GET, target, &[], false)
            .await
            .expect("a stream");
        let (head, mut download) = pending.head().await.expect("an answer");
        assert_eq!(head.status, 200, "{protocol:?}");
        let mut received = Checker::default();
        received.feed(
            &download
                .chunk()
                .await
                .expect("a body")
                .expect("a first piece"),
        );
        Self {
            received,
            download,
            _client: client,
        }
    }

    async fn rest(mut self) -> Checker {
        while let Some(data) = self.download.chunk().await.expect("the rest") {
            self.received.feed(&data);
        }
        self.received
    }
}

/// h2 is left out: Pingora cannot put off a write there, so a fill waits for its first reader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_first_reader_does_not_hold_up_the_others_of_a_fill() {
    let world = World::start().await;
    for (number, slow_protocol) in [Protocol::H1, Protocol::H3].into_iter().enumerate() {
        let target = format!("/fresh-bytes/{}", SLOW_BYTES + number as u64);
        let length = SLOW_BYTES + number as u64;
        let slow = SlowReader::start(&world, slow_protocol, &target).await;
        for protocol in Protocol::ALL {
            let mut client = world.client(protocol).await;
            let (_, pending) = client
                .open(Method::GET, &target, &[], false)
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
                (length, true),
                "{slow_protocol:?} {protocol:?}"
            );
        }
        assert_eq!(world.origin.record().count(&target), 1, "{slow_protocol:?}");
        let received = slow.rest().await;
        assert_eq!(
            (received.bytes, received.is_intact()),
            (length, true),
            "the slow {slow_protocol:?} reader"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborted_streams_leave_nothing_behind() {
    let world = World::start().await;
    let mut client = world.client(Protocol::H3).await;
    // More than the edge lets one connection have open at once: each must give its place back.
    for _ in 0..300 {
        let (_, pending) = client
            .open(Method::GET, "/stall/x", &[], false)
            .await
            .expect("a stream");
        let (_, mut download) = pending.head().await.expect("an answer");
        download.chunk().await.expect("a first piece");
        download.abort();
    }
    world
        .origin
        .wait("all aborts", |record| record.responses_aborted == 300)
        .await;
    until("no request in flight", || async {
        world
            .edge
            .metric("palisade_requests_in_flight ")
            .await
            .filter(|open| *open == 0.0)
    })
    .await;
}
