//! The PROXY protocol in front of plain text and TLS.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Guarded, OTHER, connect_from, echoed, exchange, get, read_to_end};
use crate::client::{Client, Protocol, tls};
use crate::harness::waiting::within;

const REQUIRED: &str = "proxy_protocol: required, trusted_proxies: [127.0.0.2], timeouts: { handshake: 2s }, connections: { per_address: 2 }";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V4: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 0x01, 0xbb];

fn v2(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[command, kind], &length, rest].concat()
}

fn v6(source: &str) -> Vec<u8> {
    let source: std::net::Ipv6Addr = source.parse().expect("an address");
    [&source.octets()[..], &[0; 16], &[1, 2, 1, 0xbb]].concat()
}

/// A header, and the client that the origin is told of.
fn good() -> Vec<(Vec<u8>, &'static str)> {
    let line = |text: &str| format!("{text}\r\n").into_bytes();
    let with_values = [V4, &[0x02, 0, 3], b"abc", &[0x04, 0, 0]].concat();
    let many_values = [V4, &[0x30, 0x0f, 0xa0], &[7; 4_000]].concat();
    vec![
        (
            line("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443"),
            "192.0.2.1",
        ),
        (line("PROXY TCP6 2001:db8::1 ::1 56324 443"), "2001:db8::1"),
        (line("PROXY TCP6 ::ffff:192.0.2.3 ::1 1 443"), "192.0.2.3"),
        (line("PROXY UNKNOWN"), "127.0.0.2"),
        (line("PROXY UNKNOWN 6.6.6.6 6.6.6.6 1 1"), "127.0.0.2"),
        (v2(0x21, 0x11, V4), "192.0.2.1"),
        (v2(0x21, 0x11, &with_values), "192.0.2.1"),
        (v2(0x21, 0x11, &many_values), "192.0.2.1"),
        (v2(0x21, 0x21, &v6("2001:db8::7")), "2001:db8::7"),
        (v2(0x21, 0x21, &v6("::ffff:192.0.2.4")), "192.0.2.4"),
        (v2(0x21, 0x31, &[b'/'; 216]), "127.0.0.2"),
        (v2(0x21, 0x00, b""), "127.0.0.2"),
        (v2(0x20, 0x00, b""), "127.0.0.2"),
        (v2(0x20, 0x11, V4), "127.0.0.2"),
    ]
}

fn bad() -> Vec<Vec<u8>> {
    let lines = [
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 70000\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 443\r\n",
        "PROXY TCP4 192.0.2.300 192.0.2.2 1 443\r\n",
        "PROXY TCP4 2001:db8::1 ::1 1 443\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 443\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 443\r\n",
        "PROXY\r\n",
        "proxy TCP4 192.0.2.1 192.0.2.2 1 443\r\n",
        "GET /echo HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ];
    let mut cases: Vec<Vec<u8>> = lines.map(|line| line.as_bytes().to_vec()).to_vec();
    cases.push(format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).into_bytes());
    cases.extend([
        v2(0x11, 0x11, V4),
        v2(0x22, 0x11, V4),
        v2(0x21, 0x12, V4),
        v2(0x21, 0x41, V4),
        v2(0x21, 0x11, &V4[..11]),
        v2(0x21, 0x21, V4),
        v2(0x21, 0x11, &[V4, &[0x02, 0, 9], b"abc"].concat()),
        v2(0x21, 0x11, &[V4, &[0x02]].concat()),
        v2(0x21, 0x11, &[7; 5_000]),
        [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_headers_name_the_client() {
    let world = Guarded::start(REQUIRED).await;
    let request = get("/echo", "x-forwarded-for: 6.6.6.6\r\n");
    for (header, client) in good() {
        let socket = connect_from(OTHER, world.edge.http).await;
        // One write: what is behind the header must not be lost.
        let (status, echo) = exchange(socket, &[&header, request.as_bytes()].concat()).await;
        assert_eq!(status, 200, "{}", header.escape_ascii());
        // A header without an address leaves the proxy itself, which is trusted.
        let chain = match client {
            "127.0.0.2" => "6.6.6.6, 127.0.0.2",
            client => client,
        };
        assert_eq!(echoed(&echo, "x-forwarded-for"), Some(chain));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_may_come_in_pieces() {
    let world = Guarded::start(REQUIRED).await;
    for (header, _) in [good().swap_remove(0), good().swap_remove(6)] {
        let mut socket = connect_from(OTHER, world.edge.http).await;
        for byte in &header {
            socket.write_all(&[*byte]).await.expect("a connection");
            tokio::task::yield_now().await;
        }
        let (status, echo) = exchange(socket, get("/echo", "").as_bytes()).await;
        assert_eq!(status, 200);
        assert_eq!(echoed(&echo, "x-forwarded-for"), Some("192.0.2.1"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handshake_follows_the_header() {
    let world = Guarded::start(REQUIRED).await;
    for (header, _) in [good().swap_remove(0), good().swap_remove(5)] {
        let mut socket = connect_from(OTHER, world.edge.https).await;
        socket.write_all(&header).await.expect("a connection");
        let connector = TlsConnector::from(Arc::new(tls::config(&["http/1.1"])));
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = within("a handshake", connector.connect(name, socket)).await;
        let stream = stream.expect("a handshake");
        let (status, echo) = exchange(stream, get("/echo", "").as_bytes()).await;
        assert_eq!(status, 200);
        assert_eq!(echoed(&echo, "x-forwarded-for"), Some("192.0.2.1"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_headers_close_the_connection() {
    let world = Guarded::start(REQUIRED).await;
    let count = bad().len();
    for header in bad() {
        let mut socket = connect_from(OTHER, world.edge.http).await;
        // Closing may overtake the write.
        let _ = socket.write_all(&header).await;
        let _ = socket.write_all(get("/echo", "").as_bytes()).await;
        assert_eq!(read_to_end(socket).await, "", "{}", header.escape_ascii());
    }
    world.refused("proxy_malformed", count).await;
    assert_eq!(world.origin.record().requests.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_trusted_proxies_are_heard() {
    let world = Guarded::start(REQUIRED).await;
    let (header, _) = good().swap_remove(0);
    for target in [world.edge.http, world.edge.https] {
        let mut socket = TcpStream::connect(target)
            .await
            .expect("the kernel accepts");
        let _ = socket.write_all(&header).await;
        assert_eq!(read_to_end(socket).await, "");
    }
    world.refused("proxy_untrusted", 2).await;
    // QUIC has no such header: its clients are who they are.
    let mut client = Client::connect(Protocol::H3, &world.edge).await;
    let echo = client.get("/echo").await.json();
    assert_eq!(echoed(&echo, "x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_and_half_a_header_are_cut() {
    let world = Guarded::start(REQUIRED).await;
    let silent = connect_from(OTHER, world.edge.http).await;
    let mut half = connect_from(OTHER, world.edge.https).await;
    half.write_all(b"PROXY TCP4 ").await.expect("a connection");
    assert_eq!(read_to_end(silent).await, "");
    assert_eq!(read_to_end(half).await, "");
    world.refused("handshake_timeout", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_counted_by_the_address_in_the_header() {
    let world = Guarded::start(REQUIRED).await;
    let header = |client: &str| format!("PROXY TCP4 {client} 192.0.2.2 1 443\r\n");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut socket = connect_from(OTHER, world.edge.http).await;
        let begin = header("192.0.2.1") + "GET /echo HTTP/1.1\r\nhost: localhost\r\n\r\n";
        socket
            .write_all(begin.as_bytes())
            .await
            .expect("a connection");
        let mut answer = [0; 15];
        within("an answer", socket.read_exact(&mut answer))
            .await
            .expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        held.push(socket);
    }
    for (client, status) in [("192.0.2.1", 0), ("192.0.2.9", 200)] {
        let socket = connect_from(OTHER, world.edge.http).await;
        let request = header(client) + &get("/echo", "");
        assert_eq!(
            exchange(socket, request.as_bytes()).await.0,
            status,
            "{client}"
        );
    }
    world.refused("address_cap", 1).await;
}
