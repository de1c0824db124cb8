//! Slow heads, slow bodies, slow readers: each is cut and counted, and the others are served.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, select};
use http::Method;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::slow_readers::{SlowReader, UnreadSocket};
use super::{Guarded, exchange, read_to_end};
use crate::client::raw_h3::{self, RawH3};
use crate::client::tls::socket as tls_socket;
use crate::client::{Broken, Client, Protocol, Response, Upload};
use crate::harness::usage::Usage;
use crate::harness::waiting::within;

const SLOW: &str = "timeouts: { head: 2s, body: 3s }, rates: { request_body: 1KiB, grace: 2s }";
/// Of each kind at once.
const ATTACKERS: usize = 8;
/// Between two bytes of an attacker, and two requests of the client beside it.
const DRIP: Duration = Duration::from_millis(100);
/// More than sockets and windows hold.
const LARGE: &str = "/bytes/67108864";
/// Between two reads of a client that takes 4 KiB at a time, where a piece of 32 KiB has some seconds.
const TRICKLE: Duration = Duration::from_secs(1);
/// Of CPU that an attack of some seconds and the client beside it may cost, in a debug build.
const CPU_S_MAX: f64 = 4.0;
/// Resident bytes for each attacker: its buffers, and those of its connection upstream.
const BYTES_EACH: u64 = 4 << 20;

/// Run an attack, and beside it a client that must get every one of its answers.
async fn beside<T>(world: &Guarded, attack: impl Future<Output = T>) -> T {
    let before = Usage::of(&world.edge);
    let mut attack = pin!(attack);
    let mut served = 0;
    let mut client = Client::connect(Protocol::H2, &world.edge).await;
    let outcome = loop {
        tokio::select! {
            outcome = &mut attack => break outcome,
            answer = client.get("/echo/beside") => {
                assert_eq!(answer.status, 200);
                served += 1;
                tokio::time::sleep(DRIP).await;
            }
        }
    };
    assert!(served > 0, "nobody was served beside the attack");
    before.grew_by_at_most(&world.edge, CPU_S_MAX, 3 * ATTACKERS as u64 * BYTES_EACH);
    outcome
}

/// Requests that the edge answered itself, or broke off, for this reason. Counted at their end.
async fn cut(world: &Guarded, reason: &str, times: usize) {
    let series = format!("palisade_rejections_total{{http_route=\"all\",reason=\"{reason}\"}}");
    world.counted(&series, times).await;
}

/// Drip bytes of a head that never ends until the edge hangs up.
async fn drip_head(socket: impl AsyncRead + AsyncWrite + Unpin) {
    let (reader, mut writer) = tokio::io::split(socket);
    let dripping = pin!(async {
        let begin = b"GET /echo/slow HTTP/1.1\r\nhost: localhost\r\nx-slow: ";
        let mut sent = writer.write_all(begin).await;
        while sent.is_ok() {
            tokio::time::sleep(DRIP).await;
            sent = writer.write_all(b"a").await;
        }
        // The writing side may notice first.
        std::future::pending::<()>().await;
    });
    select(pin!(read_to_end(reader)), dripping).await;
}

/// A connection on which one request was answered.
async fn used(world: &Guarded) -> TcpStream {
    let mut socket = TcpStream::connect(world.edge.http)
        .await
        .expect("a connection");
    let request = b"GET /echo/first HTTP/1.1\r\nhost: localhost\r\n\r\n";
    socket.write_all(request).await.expect("a connection");
    let mut answer = Vec::new();
    while !answer.ends_with(b"}\r\n0\r\n\r\n") && !answer.ends_with(b"}") {
        let read = within("an answer", socket.read_buf(&mut answer)).await;
        assert_ne!(read.expect("an answer"), 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_are_cut() {
    let world = Guarded::start(SLOW).await;
    let attack = async {
        let plain = join_all((0..ATTACKERS).map(|_| async {
            drip_head(
                TcpStream::connect(world.edge.http)
                    .await
                    .expect("a connection"),
            )
            .await;
        }));
        let secure = join_all((0..ATTACKERS).map(|_| async {
            drip_head(tls_socket(&world.edge).await).await;
        }));
        let second = join_all((0..ATTACKERS).map(|_| async {
            drip_head(used(&world).await).await;
        }));
        // Half open: not one byte.
        let silent = join_all((0..ATTACKERS).map(|_| async {
            let socket = TcpStream::connect(world.edge.http).await;
            assert_eq!(read_to_end(socket.expect("a connection")).await, "");
        }));
        tokio::join!(plain, secure, second, silent)
    };
    beside(&world, attack).await;
    assert_eq!(world.origin.record().count("/echo/slow"), 0);
    assert_eq!(world.origin.record().count("/echo/first"), ATTACKERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_of_h3_streams_are_cut() {
    let world = Guarded::start(SLOW).await;
    let attack = async {
        let connection = RawH3::connect(world.edge.https)
            .await
            .expect("a connection");
        let head = raw_h3::headers(&connection.head("GET", "/echo/slow"));
        let begin = head.slice(..head.len() / 2);
        let cut = join_all((0..ATTACKERS).map(|_| async {
            let mut request = connection.begin(begin.clone()).await.expect("a stream");
            request.outcome().await
        }));
        cut.await
    };
    beside(&world, attack).await;
    world.refused("head_timeout", ATTACKERS).await;
    assert_eq!(world.origin.record().count("/echo/slow"), 0);
}

/// One byte after the other, until the edge does not want them.
async fn drip_body(mut upload: Upload) {
    while upload.send(Bytes::from_static(b"a")).await.is_ok() {
        tokio::time::sleep(DRIP).await;
    }
}

/// The answer to a body that is sent as `sending` does.
async fn answer_to<S>(
    world: &Guarded,
    protocol: Protocol,
    path: &str,
    sending: impl FnOnce(Upload) -> S,
) -> Result<Response, Broken>
where
    S: Future<Output = ()>,
{
    let mut client = Client::connect(protocol, &world.edge).await;
    let (upload, pending) = client.open(Method::POST, path, &[], true).await?;
    let answer = async {
        let (head, mut download) = pending.head().await?;
        let mut body = Vec::new();
        while let Some(data) = download.chunk().await? {
            body.extend_from_slice(&data);
        }
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body: body.into(),
            trailers: None,
        })
    };
    let sending = async {
        sending(upload).await;
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer,
        () = sending => unreachable!("it waits for ever"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_are_cut() {
    let world = Guarded::start(SLOW).await;
    let attack = join_all(Protocol::ALL.map(|protocol| {
        let world = &world;
        join_all((0..ATTACKERS).map(move |_| async move {
            let answer = answer_to(world, protocol, "/count", drip_body).await;
            let answer = answer.unwrap_or_else(|broken| panic!("{protocol:?}: {broken:?}"));
            answer.assert_problem(408, "request_too_slow");
        }))
    }));
    beside(&world, attack).await;
    let attackers = 3 * ATTACKERS;
    cut(&world, "request_too_slow", attackers).await;
    world
        .origin
        .wait("every upload to be broken off", |record| {
            record.uploads_broken == attackers
        })
        .await;
    assert_eq!(world.origin.record().count("/count"), attackers);
}

/// A few bytes, then nothing; the stream stays open.
async fn fall_silent(mut upload: Upload) {
    let _ = upload.send(Bytes::from_static(b"beginning")).await;
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_bodies_are_cut() {
    let world = Guarded::start(SLOW).await;
    let attack = join_all(Protocol::ALL.map(|protocol| {
        let world = &world;
        join_all((0..ATTACKERS).map(move |_| async move {
            let answer = answer_to(world, protocol, "/count", fall_silent).await;
            let answer = answer.unwrap_or_else(|broken| panic!("{protocol:?}: {broken:?}"));
            answer.assert_problem(408, "request_timeout");
        }))
    }));
    beside(&world, attack).await;
    let attackers = 3 * ATTACKERS;
    cut(&world, "request_timeout", attackers).await;
    world
        .origin
        .wait("every upload to be broken off", |record| {
            record.uploads_broken == attackers
        })
        .await;
}

/// An upstream that takes nothing is not its client's fault, however long it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_slow_upstreams_are_not_cut() {
    const LENGTH: usize = 16 << 20;
    let world = Guarded::start(SLOW).await;
    let patient = join_all(Protocol::ALL.map(|protocol| {
        let world = &world;
        async move {
            let mut client = Client::connect(protocol, &world.edge).await;
            let body = crate::upstream::pattern::whole(LENGTH);
            let answer = client.send(Method::POST, "/count-gated", &[], body).await;
            answer.unwrap_or_else(|broken| panic!("{protocol:?}: {broken:?}"))
        }
    }));
    let meanwhile = async {
        // Twice the time in which a client is cut for its own silence.
        for _ in 0..2 {
            let cut = answer_to(&world, Protocol::H2, "/count", fall_silent).await;
            cut.expect("an answer")
                .assert_problem(408, "request_timeout");
        }
        world.origin.open_gate();
    };
    let (answers, ()) = tokio::join!(patient, meanwhile);
    for answer in answers {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["bytes"], LENGTH, "{answer:?}");
    }
}

/// A stream of messages has pauses; how long they may be is the cluster's to say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_messages_may_be_far_apart() {
    let world = Guarded::start(SLOW).await;
    let mut calls = Vec::new();
    for protocol in [Protocol::H2, Protocol::H3] {
        let mut client = Client::connect(protocol, &world.edge).await;
        let grpc = [("content-type", "application/grpc")];
        let call = client.open(Method::POST, "/count", &grpc, true).await;
        let (mut upload, pending) = call.expect("a stream");
        upload.send(Bytes::from_static(b"a")).await.expect("sent");
        calls.push((client, upload, pending));
    }
    // Twice the time in which others are cut.
    for _ in 0..2 {
        let cut = answer_to(&world, Protocol::H2, "/count", fall_silent).await;
        cut.expect("an answer")
            .assert_problem(408, "request_timeout");
    }
    for (client, mut upload, pending) in calls {
        upload.send(Bytes::from_static(b"b")).await.expect("sent");
        upload.finish().await.expect("the end is sent");
        let (head, _) = pending.head().await.expect("an answer");
        assert_eq!(head.status, 200);
        drop(client);
    }
    world
        .origin
        .wait("both calls to be whole", |record| {
            record.upload_bytes == 4 + 2 * 9 && record.uploads_broken == 2
        })
        .await;
}

/// Five silent clients must not make the edge believe that the endpoint is ill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_clients_eject_no_endpoint() {
    let world = Guarded::start_with("", "timeouts: { read: 1s }").await;
    for protocol in Protocol::ALL {
        let attack = (0..5).map(|_| answer_to(&world, protocol, "/count", fall_silent));
        for answer in join_all(attack).await {
            let answer = answer.unwrap_or_else(|broken| panic!("{protocol:?}: {broken:?}"));
            answer.assert_problem(408, "request_timeout");
        }
    }
    let series = "palisade_upstream_ejections_total{cluster=\"origin\"}";
    assert_eq!(world.edge.metric(series).await, None);
    // A silent endpoint is another matter.
    let mut client = Client::connect(Protocol::H2, &world.edge).await;
    for body in ["", "whole"] {
        let answer = client.send(Method::POST, "/hang", &[], body).await;
        answer
            .expect("an answer")
            .assert_problem(504, "upstream_timeout");
    }
    // The client does what it must, and waits to be asked for its body.
    let socket = TcpStream::connect(world.edge.http)
        .await
        .expect("a connection");
    let waiting = b"POST /hang HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    let (status, problem) = exchange(socket, waiting).await;
    assert_eq!(
        (status, &problem["code"]),
        (504, &"upstream_timeout".into())
    );
}

/// By the rate: a piece of 32 KiB, or what was read of it at once, has some seconds.
const SLOW_READERS: &str = "rates: { response: 16KiB, grace: 2s }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_are_cut() {
    let world = Guarded::start(SLOW_READERS).await;
    let attack = async {
        let (mut trickling, mut idle) = (JoinSet::new(), Vec::new());
        for protocol in Protocol::ALL {
            for _ in 0..ATTACKERS / 2 {
                let open = || SlowReader::open(protocol, &world.edge, LARGE);
                trickling.spawn(open().await.until_cut(TRICKLE));
                idle.push(open().await);
            }
        }
        world
            .origin
            .wait("every download to be broken off", |record| {
                record.responses_aborted == 3 * ATTACKERS
            })
            .await;
    };
    beside(&world, attack).await;
    let attackers = 3 * ATTACKERS;
    cut(&world, "response_too_slow", attackers).await;
    assert_eq!(world.origin.record().count("/bytes"), attackers);
}

/// An h2 client with the largest window and a socket that it never reads: nothing but our own
/// buffers bounds what waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_sockets_are_let_go() {
    let world = Guarded::start(&format!("timeouts: {{ idle: 2s }}, {SLOW_READERS}")).await;
    let open = "palisade_connections_open{listener=\"https\"}";
    let attack = async {
        let mut held = Vec::new();
        for _ in 0..ATTACKERS {
            held.push(UnreadSocket::open(&world.edge, LARGE).await);
        }
        cut(&world, "response_too_slow", ATTACKERS).await;
        // The client beside has one.
        world.counted_down(open, 1).await;
        drop(held);
    };
    beside(&world, attack).await;
    assert_eq!(world.origin.record().count("/bytes"), ATTACKERS);
}

/// What the client is told: the stream is reset. Here by the time for a piece alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_see_a_reset() {
    let world = Guarded::start("timeouts: { write: 3s }, rates: { response: off }").await;
    for protocol in [Protocol::H2, Protocol::H3] {
        let reader = SlowReader::open(protocol, &world.edge, LARGE).await;
        within("a reset", reader.until_cut(TRICKLE)).await;
    }
    cut(&world, "response_too_slow", 2).await;
}
