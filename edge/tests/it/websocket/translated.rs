//! Streams of a gRPC service on WebSockets, whatever HTTP carries them.

use std::net::SocketAddr;
use std::path::Path;

use palisade_echo::{DESCRIPTORS, Echo, EchoServiceServer};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_tungstenite::tungstenite::Message;
use tonic::transport::Server;

use super::client::{Client, Fields, Refused};
use crate::aioquic::python;
use crate::client::Protocol;
use crate::harness::Edge;
use crate::harness::files::{Files, certificate_file};
use crate::harness::tokens::{Signer, issuer_from_file};
use crate::harness::waiting::{until, within};

const COUNT: &str = "/palisade.echo.v1.EchoService/Count";
/// More than one HTTP/2 connection takes streams by default.
const SOCKETS: usize = 250;
/// Of messages that a stalled reader has not read: windows of 1 MiB on the way, sockets, one message.
const STALLED_BYTES_MAX: u64 = 6 << 20;
const STALLED: usize = 12;

const ROUTES: &str = "
routes:
  - { name: off, matches: [{ path: { prefix: /v1/off } }], translate: true, cluster: echo }
  - { name: hasty, matches: [{ path: /v1/count/4 }], request_timeout: 2s, websocket: {}, translate: true, cluster: echo }
  - { name: idle, matches: [{ path: /v1/sum }], websocket: { idle_timeout: 700ms }, translate: true, cluster: echo }
  - name: private
    matches: [{ path: { prefix: /v1/rooms/private } }]
    auth: { issuer: main, claim_headers: { sub: x-user-id } }
    websocket: {}
    translate: true
    cluster: echo
  - { name: open, matches: [{ path: { prefix: / } }], request_timeout: 10s, websocket: {}, translate: true, cluster: echo }
";

struct World {
    edge: Edge,
    echo: Echo,
    signer: Signer,
}

impl World {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let echo = Echo::default();
        let serving = Server::builder()
            .add_service(EchoServiceServer::new(echo.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        let (files, signer) = files(address);
        Self {
            edge: Edge::start_with(files, &[]).await,
            echo,
            signer,
        }
    }

    async fn try_open(
        &self,
        protocol: Protocol,
        path: &str,
        fields: Fields<'_>,
    ) -> Result<Client, Refused> {
        Client::connect(protocol, self.edge.https, path, fields).await
    }

    async fn open(&self, protocol: Protocol, path: &str) -> Client {
        let opened = self.try_open(protocol, path, &[]).await;
        opened.unwrap_or_else(|refused| panic!("{protocol:?} {path}: {refused:?}"))
    }

    async fn under_way(&self, calls: usize) {
        until(format!("{calls} calls to be under way"), || async {
            (self.echo.under_way() == calls).then_some(())
        })
        .await;
    }
}

fn files(echo: SocketAddr) -> (Files, Signer) {
    let signer = Signer::new("key-1");
    let files = Files::new();
    let jwks = files.root().join("jwks.json");
    std::fs::write(&jwks, signer.jwks()).expect("a file");
    std::fs::write(files.root().join("echo.pb"), DESCRIPTORS).expect("a file");
    let issuer = issuer_from_file(&jwks);
    let clusters = format!(
        "version: 1\nclusters:\n  - {{ name: echo, endpoints: [\"{echo}\"], protocol: grpc, descriptors: ../echo.pb }}\n{issuer}"
    );
    files.write_policy("clusters.yaml", &clusters);
    files.write_policy("routes.yaml", &format!("version: 1{ROUTES}"));
    (files, signer)
}

fn answer(message: Option<Message>) -> Value {
    match message {
        Some(Message::Text(text)) => serde_json::from_str(&text).expect("JSON"),
        other => panic!("not a text: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_every_kind() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut chat = world.open(protocol, "/v1/rooms/blue/chat").await;
        for seq in ["1", "2"] {
            chat.send(Message::text(r#"{"text":"hello"}"#)).await;
            let expected = json!({ "room": "blue", "text": "hello", "seq": seq });
            assert_eq!(answer(chat.next().await), expected, "{protocol:?}");
        }
        chat.send(Message::text("")).await;
        let success = Some((1000, String::new()));
        assert_eq!(chat.closed().await, success, "{protocol:?}");

        let mut count = world.open(protocol, "/v1/count/2?from=1").await;
        for number in ["1", "2"] {
            assert_eq!(answer(count.next().await)["number"], number);
        }
        assert_eq!(count.closed().await, success, "{protocol:?}");

        let mut sum = world.open(protocol, "/v1/sum").await;
        for _ in 0..3 {
            sum.send(Message::text(r#"{"number":"4"}"#)).await;
        }
        sum.send(Message::text("")).await;
        let expected = json!({ "sum": "12", "messages": "3" });
        assert_eq!(answer(sum.next().await), expected, "{protocol:?}");
        assert_eq!(sum.closed().await, success, "{protocol:?}");

        let fields = [("sec-websocket-protocol", "palisade.v1.proto")];
        let chat = world.try_open(protocol, "/v1/rooms/a/chat", &fields).await;
        let mut chat = chat.expect("opened");
        // Field 2 is the text.
        chat.send(Message::binary(&b"\x12\x02hi"[..])).await;
        let expected = Message::binary(&b"\x0a\x01a\x12\x02hi\x18\x01"[..]);
        assert_eq!(chat.next().await, Some(expected), "{protocol:?}");
    }
    world.under_way(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_refused_in_http() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let proto = [("sec-websocket-protocol", "chat")];
        let cases: [(&str, Fields<'_>, u16, &str); 6] = [
            ("/v1/off/chat", &[], 403, "websocket_not_allowed"),
            ("/v1/rooms/private/chat", &[], 401, "token_missing"),
            ("/v1/nowhere", &[], 404, "binding_not_found"),
            ("/v1/echo/x", &[], 400, "websocket_not_supported"),
            ("/v1/rooms/a/chat", &proto, 400, "unknown_subprotocol"),
            ("/v1/count/1?pause=-1s", &[], 400, "invalid_argument"),
        ];
        for (path, fields, status, code) in cases {
            let Err(refused) = world.try_open(protocol, path, fields).await else {
                panic!("{protocol:?} {path}: opened");
            };
            assert_eq!(
                (refused.status, &*refused.code()),
                (Some(status), code),
                "{protocol:?} {path}: {refused:?}"
            );
        }
        let field = world.signer.bearer(json!({}));
        let token = field.replace("Bearer ", "palisade.bearer.");
        let offers = format!("palisade.v1.json, {token}");
        for (name, value) in [
            ("authorization", &field),
            ("sec-websocket-protocol", &offers),
        ] {
            let path = "/v1/rooms/private/chat";
            let chat = world.try_open(protocol, path, &[(name, value)]).await;
            let mut chat = chat.expect("opened");
            chat.send(Message::text("{}")).await;
            assert_eq!(answer(chat.next().await)["room"], "private");
        }
    }
    world.under_way(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_close_codes() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut count = world.open(protocol, COUNT).await;
        let fail = json!({ "code": 5, "message": "no such room" });
        let asked = json!({ "failAfter": 1, "fail": fail });
        count.send(Message::text(asked.to_string())).await;
        assert_eq!(answer(count.next().await)["number"], "0");
        let expected = Some((4005, "no such room".to_owned()));
        assert_eq!(count.closed().await, expected, "{protocol:?}");

        for (frame, code) in [
            (Message::text("nonsense"), 4003),
            (Message::binary(&b"{}"[..]), 1003),
            (Message::text("x".repeat(2 << 20)), 1009),
        ] {
            let mut chat = world.open(protocol, "/v1/rooms/a/chat").await;
            // It may be refused by its first bytes.
            chat.try_send(frame).await;
            let closed = chat.closed().await.map(|(code, _)| code);
            assert_eq!(closed, Some(code), "{protocol:?}");
        }
        // The edge's own ending reaches the service, too.
        let mut sum = world.open(protocol, "/v1/sum").await;
        sum.send(Message::text("{}")).await;
        assert_eq!(sum.closed().await, Some((1001, "idle".to_owned())));
        world.under_way(0).await;
    }
}

/// A stream may last: the route's bound is on the handshake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_request_timeout_ends_with_the_upgrade() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut count = world.open(protocol, "/v1/count/4?pause=0.6s").await;
        for number in 0..=4 {
            assert_eq!(answer(count.next().await)["number"], number.to_string());
        }
        assert_eq!(count.closed().await, Some((1000, String::new())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_cancels_its_call() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        for path in ["/v1/rooms/a/chat", "/v1/count/0?paddingBytes=65536"] {
            let mut left = world.open(protocol, path).await;
            left.send(Message::text(if path.contains("rooms") {
                "{}"
            } else {
                ""
            }))
            .await;
            answer(left.next().await);
            world.under_way(1).await;
            drop(left);
            world.under_way(0).await;
        }
    }
    let mut chat = world.open(Protocol::H2, "/v1/rooms/a/chat").await;
    chat.send(Message::text("{}")).await;
    answer(chat.next().await);
    world.edge.signal(Signal::TERM);
    let drained = Some((1001, "draining".to_owned()));
    assert_eq!(chat.closed().await, drained);
    world.under_way(0).await;
}

/// Readers that stop are waited for, and nobody else waits with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_readers_hold_up_nobody_else() {
    for protocol in Protocol::ALL {
        let world = World::start().await;
        let before = world.edge.rss_bytes();
        let mut stalled = Vec::new();
        for _ in 0..STALLED {
            stalled.push(world.open(protocol, "/v1/count/0?paddingBytes=65536").await);
        }
        let mut last = (0, 0);
        // The same size many times in a row: all that fits on the way is there.
        until("the edge to be full", || {
            let now = world.edge.rss_bytes();
            last = if now == last.0 {
                (now, last.1 + 1)
            } else {
                (now, 0)
            };
            let is_full = now > before && last.1 >= 25;
            async move { is_full.then_some(()) }
        })
        .await;
        let growth = world.edge.rss_bytes().saturating_sub(before);
        let bound = STALLED as u64 * STALLED_BYTES_MAX;
        assert!(growth < bound, "{protocol:?}: grew by {growth} bytes");
        let mut other = world
            .open(protocol, "/v1/count/200?paddingBytes=65536")
            .await;
        for number in 0..=200 {
            assert_eq!(answer(other.next().await)["number"], number.to_string());
        }
        for client in &mut stalled {
            assert_eq!(answer(client.next().await)["number"], "0", "{protocol:?}");
        }
        drop((stalled, other));
        world.under_way(0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_sockets_than_one_connection_has_streams() {
    let world = World::start().await;
    let mut chats = Vec::new();
    for _ in 0..SOCKETS {
        let mut chat = world.open(Protocol::H1, "/v1/rooms/a/chat").await;
        chat.send(Message::text("{}")).await;
        answer(chat.next().await);
        chats.push(chat);
    }
    world.under_way(SOCKETS).await;
    for chat in &mut chats {
        chat.send(Message::text("{}")).await;
        assert_eq!(answer(chat.next().await)["seq"], "2");
    }
    drop(chats);
    world.under_way(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pythons_websockets_talks_to_it() {
    let world = World::start().await;
    let talking = Command::new(python())
        .kill_on_drop(true)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/websocket/translated.py"))
        .arg(world.edge.https.port().to_string())
        .arg(certificate_file("ca.pem"))
        .output();
    let output = within("websockets", talking).await.expect("python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    let seen: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("run `make setup-tests`? {errors}"));
    let expected = json!({
        "chat": ["hello", "grüß dich"],
        "chat_closed": [1000, ""],
        "count": ["1", "2", "3"],
        "count_closed": [1000, ""],
        "subprotocol": "palisade.v1.proto",
        "binary": "0a0178120268691801",
        "failed": [4007, "not for you"],
        "not_json": 4003,
        "too_long": 1009,
        "refused": [400, "websocket_not_supported"],
        "large": 1_000_000,
        "slow": 200,
        "many": 2000,
    });
    assert_eq!(seen, expected, "{errors}");
    world.under_way(0).await;
}
