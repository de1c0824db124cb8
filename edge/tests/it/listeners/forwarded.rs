//! Forwarded fields of proxies that are trusted, and of everybody else.

use bytes::Bytes;
use http::Method;

use super::{Guarded, OTHER, connect_from, echoed, exchange, get, listeners};
use crate::client::{Client, Protocol};
use crate::harness::waiting::until;

const TRUSTING: &str = "trusted_proxies: [127.0.0.2, 10.0.0.0/8]";
/// Everything by which a client could claim to be another.
const CLAIMS: [(&str, &str); 6] = [
    ("forwarded", "for=6.6.6.6;proto=http"),
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-host", "evil.example"),
    ("x-real-ip", "6.6.6.6"),
    ("true-client-ip", "6.6.6.6"),
];

impl Guarded {
    /// What the origin saw of a request from the proxy at 127.0.0.2 with these lines.
    async fn by_proxy(&self, path: &str, lines: &str) -> (u16, serde_json::Value) {
        let socket = connect_from(OTHER, self.edge.http).await;
        exchange(socket, get(path, lines).as_bytes()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_no_proxy_claims_nothing() {
    let world = Guarded::start(TRUSTING).await;
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &world.edge).await;
        let answer = client
            .send(Method::GET, "/echo", &CLAIMS, Bytes::new())
            .await
            .expect("an answer");
        let echo = answer.json();
        assert_eq!(echoed(&echo, "x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(echoed(&echo, "x-forwarded-proto"), Some("https"));
        assert!(!echo["headers"].to_string().contains("6.6.6.6"), "{echo}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_word_of_a_trusted_proxy_is_taken_everywhere() {
    let world = Guarded::start(TRUSTING).await;
    let lines = "x-forwarded-for: 6.6.6.6, 192.0.2.7, 10.0.0.5\r\nx-forwarded-proto: https\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\n";
    let (status, echo) = world.by_proxy("/echo", lines).await;
    assert_eq!(status, 200);
    assert_eq!(
        echoed(&echo, "x-forwarded-for"),
        Some("192.0.2.7, 10.0.0.5, 127.0.0.2")
    );
    assert_eq!(echoed(&echo, "x-forwarded-proto"), Some("https"));
    assert!(!echo["headers"].to_string().contains("6.6.6.6"), "{echo}");
    world
        .edge
        .log_line("the client's own address", |line| {
            line["client"] == "192.0.2.7"
        })
        .await;
    // Limits count clients, not the proxy.
    for (address, status) in [("192.0.2.7", 200), ("192.0.2.8", 200), ("192.0.2.7", 429)] {
        let line = format!("x-forwarded-for: {address}\r\n");
        let (found, _) = world.by_proxy("/echo/one", &line).await;
        assert_eq!(found, status, "{address}");
    }
    // A route for https only is served to who came to the proxy by https.
    for (proto, status) in [("https", 200), ("http", 308), ("gopher", 308)] {
        let line = format!("x-forwarded-proto: {proto}\r\n");
        let (found, _) = world.by_proxy("/echo/secure", &line).await;
        assert_eq!(found, status, "{proto}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trust_is_live() {
    let world = Guarded::start(TRUSTING).await;
    let seen = || async {
        let lines = "x-forwarded-for: 192.0.2.7\r\nforwarded: for=192.0.2.8;proto=https\r\n";
        let (_, echo) = world.by_proxy("/echo", lines).await;
        echoed(&echo, "x-forwarded-for").map(str::to_owned)
    };
    assert_eq!(seen().await.as_deref(), Some("192.0.2.7, 127.0.0.2"));
    for (map, expected) in [
        (
            "trusted_proxies: [127.0.0.2], client_address_from: forwarded",
            "192.0.2.8, 127.0.0.2",
        ),
        ("trusted_proxies: []", "127.0.0.2"),
    ] {
        world
            .edge
            .files
            .write_policy("listeners.yaml", &listeners(map));
        until(expected, || async {
            (seen().await.as_deref() == Some(expected)).then_some(())
        })
        .await;
    }
}
