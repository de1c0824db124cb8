//! Upstreams that answer an upgrade with something else than one.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::World;
use super::client::Client;
use crate::client::{Protocol, tls};
use crate::harness::Edge;
use crate::harness::waiting::within;
use crate::upstream::raw::RawOrigin;

const ROUTES: &str = "
routes:
  - { name: open, matches: [{ path: { prefix: / } }], websocket: {}, plain_http: true, cluster: origin }
";

async fn edge_before(origin: SocketAddr) -> Edge {
    let (files, _) = World::files(origin, ROUTES);
    Edge::start_with(files, &[]).await
}

/// The status that each protocol's client gets where the upstream answers this.
async fn statuses(answer: &str) -> Vec<Option<u16>> {
    let origin = RawOrigin::answering(answer).await;
    let edge = edge_before(origin.address).await;
    let mut statuses = Vec::new();
    for protocol in Protocol::ALL {
        match Client::connect(protocol, edge.https, "/", &[]).await {
            Ok(_) => panic!("{protocol:?}: opened by {answer}"),
            Err(refused) => statuses.push(refused.status),
        }
    }
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_passed_on() {
    for (answer, status) in [
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", 403),
        (
            "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
            302,
        ),
        (
            "HTTP/1.1 426 Upgrade Required\r\nsec-websocket-version: 13\r\ncontent-length: 0\r\n\r\n",
            426,
        ),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\nuntil the end", 503),
    ] {
        assert_eq!(statuses(answer).await, [Some(status); 3], "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agreement_to_something_else_is_none() {
    let accept = derive_accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
    for answer in [
        // The proof of another handshake.
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
        ),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"
            .to_owned(),
        "HTTP/1.0 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n".to_owned(),
    ] {
        assert_eq!(statuses(&answer).await, [Some(502); 3], "{answer}");
    }
    // To the client of an extended CONNECT this would say that the tunnel is open.
    let success = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(statuses(success).await, [Some(200), Some(502), Some(502)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_upstream_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let edge = edge_before(listener.local_addr().expect("an address")).await;
    for protocol in Protocol::ALL {
        match Client::connect(protocol, edge.https, "/", &[]).await {
            Ok(_) => panic!("{protocol:?}: opened"),
            Err(refused) => assert_eq!(refused.status, Some(504), "{protocol:?}"),
        }
    }
}

/// CVE-2026-2833: what follows a refused upgrade must not be taken for a request, nor for bytes of
/// a tunnel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_refused_upgrade_goes_nowhere() {
    let origin = crate::upstream::Origin::h1().await;
    let edge = edge_before(origin.address).await;
    for upgrade in ["websocket", "x"] {
        let mut socket = tls::socket(&edge).await;
        let first = format!(
            "GET /echo/first HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: {upgrade}\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        );
        let second = "GET /echo/second HTTP/1.1\r\nhost: admin\r\nx-smuggled: yes\r\n\r\n";
        let both = format!("{first}{second}");
        socket.write_all(both.as_bytes()).await.expect("requests");
        let mut answer = vec![0; 16];
        let read = within("an answer", socket.read_exact(&mut answer)).await;
        read.expect("an answer");
        let mut rest = Vec::new();
        // The edge closes after the first, or serves the second as the request of its own it is.
        if upgrade == "websocket" {
            let _ = within("the end", socket.read_to_end(&mut rest)).await;
            assert_eq!(origin.record().count("/echo/second"), 0);
        }
        let first = origin.last("/echo/first");
        let upgraded = first.headers.contains_key("upgrade");
        assert_eq!(upgraded, upgrade == "websocket", "{upgrade}");
    }
}

/// An upstream that has answered before it was asked: Pingora's issue 946 ended such tunnels at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_upgrades_and_none_lost() {
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let edge = edge_before(listener.local_addr().expect("an address")).await;
    let accept = derive_accept_key(KEY.as_bytes());
    let origin = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
            );
            tokio::spawn(async move {
                // Before a byte was read.
                socket.write_all(answer.as_bytes()).await.expect("a socket");
                let (mut read, mut write) = socket.split();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(read.read_u8().await.expect("a head"));
                }
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    for number in 0..1_000_u16 {
        let mut socket = tokio::net::TcpStream::connect(edge.http)
            .await
            .expect("a connection");
        let request = format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: {KEY}\r\nsec-websocket-version: 13\r\n\r\n"
        );
        socket
            .write_all(request.as_bytes())
            .await
            .expect("a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = within("an answer", socket.read_u8()).await;
            head.push(byte.unwrap_or_else(|error| {
                panic!(
                    "{number}: {error}, after {}",
                    String::from_utf8_lossy(&head)
                )
            }));
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101"),
            "{number}: {}",
            String::from_utf8_lossy(&head)
        );
        let frame = [
            0x82,
            0x82,
            0,
            0,
            0,
            0,
            number.to_be_bytes()[0],
            number.to_be_bytes()[1],
        ];
        socket.write_all(&frame).await.expect("an open tunnel");
        let mut echo = [0; 8];
        within("an echo", socket.read_exact(&mut echo))
            .await
            .unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(echo, frame, "{number}");
    }
    origin.abort();
}
