//! Who gets a WebSocket connection, and what goes through it.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;

use super::{World, client};
use crate::aioquic;
use crate::client::Protocol;
use crate::client::raw_h3::{self, Outcome, RawH3};
use crate::client::tls;
use crate::harness::files::certificate_file;
use crate::harness::waiting::within;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_every_kind_and_size() {
    let world = World::start().await;
    for (number, protocol) in Protocol::ALL.into_iter().enumerate() {
        let mut client = world.open(protocol, "/open/echo", &[]).await;
        client.echo(Message::text("hello")).await;
        client.echo(Message::text("")).await;
        for size in [1, 125, 126, 65_535, 65_536, 16 << 20] {
            client.echo(Message::binary(vec![42_u8; size])).await;
        }
        client.send(Message::Ping(Bytes::from_static(b"p"))).await;
        let pong = client.next().await;
        assert_eq!(pong, Some(Message::Pong(Bytes::from_static(b"p"))));
        assert_eq!(client.close().await, None, "{protocol:?}");
        world
            .origin
            .wait_for_closes("the close", number + 1, 1005)
            .await;
    }
    for series in [
        "palisade_tunnels_ended_total{http_route=\"open\",reason=\"closed\"}",
        "palisade_tunnels_open{http_route=\"open\"}",
    ] {
        let expected = if series.contains("ended") { 3.0 } else { 0.0 };
        world.metric_becomes(series, expected).await;
    }
    for version in ["1.1", "2", "3"] {
        let line = world
            .edge
            .log_line("the access line", |line| {
                line["route"] == "open" && line["protocol"] == version
            })
            .await;
        let status = if version == "1.1" { 101 } else { 200 };
        assert_eq!(
            (&line["status"], &line["method"]),
            (&json!(status), &json!("GET"))
        );
        for bytes in ["bytes_in", "bytes_out"] {
            assert!(line[bytes].as_u64() > Some(16 << 20), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_sees_one_handshake_whatever_the_protocol() {
    let world = World::start().await;
    let token = world.signer.bearer(json!({ "scope": "read" }));
    for protocol in Protocol::ALL {
        let path = format!("/private/{protocol:?}");
        let fields = [
            ("authorization", &*token),
            ("origin", "https://anywhere.example"),
            ("x-user-id", "root"),
            ("x-forwarded-for", "6.6.6.6"),
        ];
        let mut client = world.open(protocol, &path, &fields).await;
        client.echo(Message::text("hello")).await;
        let seen = world
            .origin
            .wait("a handshake", |seen| seen.path == path)
            .await;
        for (name, value) in [
            ("upgrade", Some("websocket")),
            ("connection", Some("Upgrade")),
            ("sec-websocket-version", Some("13")),
            ("x-user-id", Some("u1")),
            ("x-forwarded-for", Some("127.0.0.1")),
            ("x-forwarded-proto", Some("https")),
            ("origin", Some("https://anywhere.example")),
            ("authorization", None),
            ("transfer-encoding", None),
            ("content-length", None),
        ] {
            assert_eq!(seen.field(name), value, "{protocol:?} {name}");
        }
        assert!(
            seen.field("host")
                .is_some_and(|host| host.starts_with("localhost:"))
        );
        assert!(seen.field("x-request-id").is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stages_refuse_before_the_upgrade() {
    let world = World::start().await;
    let unscoped = world.signer.bearer(json!({}));
    let expired = world.signer.bearer(json!({ "exp": 1_000_000_000 }));
    for protocol in Protocol::ALL {
        let key = format!("{protocol:?}");
        let key: client::Fields<'_> = &[("x-key", &key)];
        for _ in 0..2 {
            world.open(protocol, "/limited", key).await;
        }
        let cases: [(&str, client::Fields<'_>, u16, &str); 7] = [
            ("/nowhere", &[], 404, "route_not_found"),
            ("/off/x", &[], 403, "websocket_not_allowed"),
            ("/private/x", &[], 401, "token_missing"),
            (
                "/private/x",
                &[("authorization", &expired)],
                401,
                "token_expired",
            ),
            (
                "/private/x",
                &[("authorization", &unscoped)],
                403,
                "insufficient_scope",
            ),
            (
                "/pages/x",
                &[("origin", "https://evil.example")],
                403,
                "origin_not_allowed",
            ),
            ("/limited", key, 429, "rate_limited"),
        ];
        for (path, fields, status, code) in cases {
            let refused = world.refused(protocol, path, fields).await;
            assert_eq!(
                (refused.status, &*refused.code()),
                (Some(status), code),
                "{protocol:?} {path}: {refused:?}"
            );
        }
        let listed = [("origin", "https://app.example.com")];
        let mut client = world.open(protocol, "/pages/x", &listed).await;
        client.echo(Message::text("a page")).await;
        let mut client = world.open(protocol, "/pages/x", &[]).await;
        client.echo(Message::text("no page")).await;
    }
    let seen = world.origin.seen();
    assert_eq!(seen.len(), 3 * 4, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_opens_nothing_else() {
    let world = World::start().await;
    for protocol in ["connect-udp", "webtransport", "WebSocket"] {
        let h2 = client::h2(world.edge.https, "/open", &[], protocol).await;
        let h3 = client::h3(world.edge.https, "/open", &[], protocol).await;
        for (version, answer) in [("h2", h2), ("h3", h3)] {
            let Err(refused) = answer else {
                panic!("{version} {protocol}: opened");
            };
            assert_eq!(
                (refused.status, &*refused.code()),
                (Some(501), "protocol_not_implemented"),
                "{version} {protocol}: {refused:?}"
            );
        }
    }
    let connection = RawH3::connect(world.edge.https)
        .await
        .expect("a connection");
    let plain = [(":method", "CONNECT"), (":authority", "localhost:22")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let outcome = connection.request(raw_h3::headers(&plain)).await;
    assert!(outcome.expect("a stream").is_refusal());
    let mut get = connection.head("GET", "/open");
    get.push((":protocol".to_owned(), "websocket".to_owned()));
    let outcome = connection.request(raw_h3::headers(&get)).await;
    assert!(
        !matches!(outcome, Ok(Outcome::Answered(Some(200)))),
        "{outcome:?}"
    );
    let mut socket = tls::socket(&world.edge).await;
    let request = b"CONNECT localhost:22 HTTP/1.1\r\nhost: localhost:22\r\n\r\n";
    socket.write_all(request).await.expect("a request");
    let mut answer = Vec::new();
    let _ = within("an answer", socket.read_to_end(&mut answer)).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 501"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert!(world.origin.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_handshake_is_refused() {
    let world = World::start().await;
    for (fields, status) in [
        ("sec-websocket-key: c2hvcnQ=\r\n", "400"),
        ("", "400"),
        (
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\ncontent-length: 5\r\n",
            "400",
        ),
        (
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\ntransfer-encoding: chunked\r\n",
            "400",
        ),
    ] {
        let mut socket = tls::socket(&world.edge).await;
        let request = format!(
            "GET /open HTTP/1.1\r\nhost: localhost\r\nconnection: close, upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n{fields}\r\n"
        );
        socket
            .write_all(request.as_bytes())
            .await
            .expect("a request");
        let mut answer = Vec::new();
        let _ = within("an answer", socket.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{fields}: {answer}"
        );
    }
    assert!(world.origin.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aioquic_opens_one() {
    let world = World::start().await;
    let python = aioquic::python();
    aioquic::assert_installed(&python).await;
    let talking = Command::new(python)
        .kill_on_drop(true)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/aioquic_websocket.py"))
        .arg(world.edge.https.port().to_string())
        .arg(certificate_file("ca.pem"))
        .arg("/open/echo")
        .output();
    let output = within("aioquic", talking).await.expect("python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    let result = serde_json::from_slice::<Value>(&output.stdout);
    let result = result.unwrap_or_else(|_| panic!("not JSON, and: {errors}"));
    let expected = json!({
        "setting": 1,
        "status": 200,
        "echo": "810568656c6c6f",
        "close": "880203e8",
        "ended": true,
    });
    assert_eq!(result, expected);
}

/// "hello" as a client sends it.
const HELLO: [u8; 11] = [0x82, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];

/// What comes with an extended CONNECT waits for the upstream's consent, and is not read without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eager_client_is_heard_only_once_it_is_let_in() {
    let world = World::start().await;
    let connection = RawH3::connect(world.edge.https)
        .await
        .expect("a connection");
    for (path, expected) in [("/open/echo", 200), ("/off/echo", 403)] {
        let mut head = connection.head("CONNECT", path);
        head.push((":protocol".to_owned(), "websocket".to_owned()));
        head.push(("sec-websocket-version".to_owned(), "13".to_owned()));
        let eager = [raw_h3::headers(&head), raw_h3::data(&HELLO)].concat();
        let request = connection.begin(eager.into()).await.expect("a stream");
        let mut tunnel = request.into_tunnel();
        let (status, _) = within("an answer", tunnel.head()).await.expect("an answer");
        assert_eq!(status, Some(expected), "{path}");
        if expected == 200 {
            let echo = within("an echo", tunnel.data()).await.expect("an echo");
            assert_eq!(echo[..], [0x82, 5, b'h', b'e', b'l', b'l', b'o']);
        }
    }
    let seen = world.origin.seen();
    assert_eq!((seen.len(), seen[0].messages), (1, 1));
}
