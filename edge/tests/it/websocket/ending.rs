//! What ends a WebSocket connection that both its ends leave open.

use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::World;
use crate::client::Protocol;
use crate::client::raw_h3::{self, RawH3};
use crate::harness::tokens::unix_now;
use crate::harness::waiting::within;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_and_age_end_it_with_a_close_frame() {
    let world = World::start().await;
    for (number, protocol) in Protocol::ALL.into_iter().enumerate() {
        for (path, route, reason) in [
            ("/idle/echo", "idle", "idle"),
            ("/short/echo", "short", "lifetime"),
        ] {
            let mut client = world.open(protocol, path, &[]).await;
            client.echo(Message::text("hello")).await;
            let expected = Some((1001, reason.to_owned()));
            assert_eq!(client.closed().await, expected, "{protocol:?} {path}");
            assert_eq!(client.next().await, None, "{protocol:?} {path}: the end");
            let series = format!(
                "palisade_tunnels_ended_total{{http_route=\"{route}\",reason=\"{reason}\"}}"
            );
            world.metric_becomes(&series, (number + 1) as f64).await;
        }
        world
            .origin
            .wait_for_closes("Close frames upstream", 2 * (number + 1), 1001)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_in_either_direction_is_no_silence() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut sender = world.open(protocol, "/idle/sink", &[]).await;
        let mut reader = world.open(protocol, "/idle/ticks", &[]).await;
        // Far more ticks than the route's idle timeout has time for.
        for number in 0..12 {
            assert_eq!(
                reader.next().await,
                Some(Message::text("tick")),
                "{protocol:?} {number}"
            );
            sender.send(Message::text("tick")).await;
        }
        let path = format!("{protocol:?}");
        world
            .origin
            .wait("the messages", |seen| {
                seen.path == "/idle/sink" && seen.messages == 12 && !seen.ended
            })
            .await;
        drop((sender, reader));
        world.origin.wait_until_all_ended(&path).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_takes_its_connection_along() {
    let world = World::start().await;
    let mut clients = Vec::new();
    for protocol in Protocol::ALL {
        let token = world
            .signer
            .bearer(json!({ "scope": "read", "exp": unix_now() + 3 }));
        let fields = [("authorization", &*token)];
        let mut ends = world.open(protocol, "/private/echo", &fields).await;
        let mut stays = world.open(protocol, "/longer/echo", &fields).await;
        ends.echo(Message::text("hello")).await;
        stays.echo(Message::text("hello")).await;
        clients.push((protocol, ends, stays));
    }
    for (protocol, mut ends, mut stays) in clients {
        let expected = Some((1008, "token_expired".to_owned()));
        assert_eq!(ends.closed().await, expected, "{protocol:?}");
        stays.echo(Message::text("still here")).await;
    }
    world
        .origin
        .wait_for_closes("Close frames upstream", 3, 1008)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_timeout_ends_with_the_upgrade() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        // Each tick takes a third of the route's time.
        let mut client = world.open(protocol, "/hasty/ticks", &[]).await;
        for _ in 0..6 {
            assert_eq!(
                client.next().await,
                Some(Message::text("tick")),
                "{protocol:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_says_going_away() {
    let world = World::start().await;
    let mut clients = Vec::new();
    for protocol in Protocol::ALL {
        let mut quiet = world.open(protocol, "/open/echo", &[]).await;
        quiet.echo(Message::text("hello")).await;
        let mut busy = world.open(protocol, "/open/flood", &[]).await;
        assert!(busy.next().await.is_some());
        clients.push((protocol, quiet, busy));
    }
    world.edge.signal(Signal::TERM);
    for (protocol, mut quiet, mut busy) in clients {
        let expected = Some((1001, "draining".to_owned()));
        assert_eq!(quiet.closed().await, expected, "{protocol:?}");
        let last = loop {
            match busy.next().await {
                Some(Message::Binary(data)) => assert_eq!(data.len(), 64 * 1024, "a whole message"),
                other => break other,
            }
        };
        let Some(Message::Close(Some(frame))) = last else {
            panic!("{protocol:?}: {last:?}");
        };
        assert_eq!(u16::from(frame.code), 1001, "{protocol:?}");
    }
    world
        .origin
        .wait_for_closes("Close frames upstream", 3, 1001)
        .await;
    let ended = world.edge.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("\"drained\""), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_gone_takes_the_other_along() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut cut = world.open(protocol, "/open/cut", &[]).await;
        assert_eq!(cut.next().await, None, "{protocol:?}: the upstream went");
        let path = format!("/open/left-{protocol:?}");
        let mut left = world.open(protocol, &path, &[]).await;
        left.echo(Message::text("hello")).await;
        drop(left);
        let gone = |seen: &super::origin::Seen| seen.path == path && seen.ended;
        let what = format!("the end of the {protocol:?} client");
        let seen = world.origin.wait(&what, gone).await;
        assert_eq!(seen.close, None, "{protocol:?}: nobody said Close");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_cannot_stay() {
    let world = World::start().await;
    let mut clients = Vec::new();
    for protocol in Protocol::ALL {
        clients.push(world.open(protocol, "/short/flood", &[]).await);
    }
    let series = "palisade_tunnels_ended_total{http_route=\"short\",reason=\"lifetime\"}";
    world.metric_becomes(series, 3.0).await;
    world.origin.wait_until_all_ended("the upstreams").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_does_not_read_cannot_stay() {
    let world = World::start().await;
    let mut writers = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = world.open(protocol, "/idle/deaf", &[]).await;
        writers.push(tokio::spawn(async move {
            while client.try_send(Message::binary(vec![1; 1 << 20])).await {}
        }));
    }
    for writer in writers {
        writer.await.expect("the end of a client");
    }
    world
        .metric_becomes("palisade_tunnels_open{http_route=\"idle\"}", 0.0)
        .await;
}

/// Here the client would give up its QUIC connection after thirty seconds without a packet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_measured_by_the_route_on_every_protocol() {
    let world = World::start().await;
    let mut clients = Vec::new();
    for protocol in Protocol::ALL {
        clients.push((protocol, world.open(protocol, "/quiet/echo", &[]).await));
    }
    for (protocol, mut client) in clients {
        let expected = Some((1001, "idle".to_owned()));
        assert_eq!(client.closed().await, expected, "{protocol:?}");
    }
}

/// Close without a code, as a client sends it, and as a server does.
const CLOSE: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];
const CLOSED: [u8; 2] = [0x88, 0];

/// A client may end its side with its Close frame (RFC 6455, 7.1.1); the answer is still its due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_a_close_outlives_half_a_connection() {
    let world = World::start().await;
    let mut socket = TcpStream::connect(world.edge.http)
        .await
        .expect("a connection");
    let request = b"GET /open/echo HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    socket.write_all(request).await.expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(
            within("an answer", socket.read_u8())
                .await
                .expect("an answer"),
        );
    }
    socket.write_all(&CLOSE).await.expect("an open tunnel");
    socket.shutdown().await.expect("an open tunnel");
    let mut answer = Vec::new();
    let read = within("the end", socket.read_to_end(&mut answer)).await;
    assert_eq!((read.ok(), &answer[..]), (Some(2), &CLOSED[..]));

    let connection = RawH3::connect(world.edge.https)
        .await
        .expect("a connection");
    let mut head = connection.head("CONNECT", "/open/echo");
    head.push((":protocol".to_owned(), "websocket".to_owned()));
    head.push(("sec-websocket-version".to_owned(), "13".to_owned()));
    let whole = [raw_h3::headers(&head), raw_h3::data(&CLOSE)].concat();
    let mut request = connection.begin(whole.into()).await.expect("a stream");
    request.send.finish().expect("a stream");
    let mut tunnel = request.into_tunnel();
    assert!(within("an answer", tunnel.head()).await.is_some());
    let answer = within("a frame", tunnel.data()).await;
    assert_eq!(answer.as_deref(), Some(&CLOSED[..]));
    assert_eq!(within("the end", tunnel.data()).await, None);

    let mut client = world.open(Protocol::H2, "/open/echo", &[]).await;
    client.close_and_end().await;
    assert_eq!(client.next().await, Some(Message::Close(None)));
}
