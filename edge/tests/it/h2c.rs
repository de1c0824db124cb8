//! HTTP/2 without TLS: by prior knowledge where the operator lets it, by `Upgrade` nowhere.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::raw_h2::*;
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::waiting::within;
use crate::upstream::Origin;

async fn start(flags: &[&str]) -> (Edge, Origin) {
    let origin = Origin::h1().await;
    let policy = format!(
        "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
routes:
  - {{ name: secure, matches: [{{ path: {{ prefix: / }} }}], cluster: origin }}
  - {{ name: plain, matches: [{{ path: {{ prefix: /echo }} }}], plain_http: true, cluster: origin }}
",
        origin.address
    );
    let files = Files::with_policies(&[("plain.yaml", &policy)]);
    (Edge::start_with(files, flags).await, origin)
}

/// What comes back for these bytes, to the end of the connection.
async fn exchange(edge: &Edge, pieces: &[&[u8]]) -> String {
    let mut socket = TcpStream::connect(edge.http).await.expect("a connection");
    socket.set_nodelay(true).expect("a socket");
    let mut answer = Vec::new();
    let exchange = async {
        for piece in pieces {
            socket.write_all(piece).await.expect("a connection");
            socket.flush().await.expect("a connection");
        }
        // A reset after the answer is an end as well.
        let _ = socket.read_to_end(&mut answer).await;
    };
    within("the end of the connection", exchange).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prior_knowledge_where_it_is_allowed() {
    let (edge, origin) = start(&["--http-h2c"]).await;
    let mut h2 = RawH2::plain(&edge).await;
    h2.greet(&[(0x1, 0)]).await;
    h2.send(&[get(1, "/echo/h2c"), get(3, "/elsewhere")].concat())
        .await;
    for _ in 0..2 {
        let head = h2.wait("an answer", |frame| frame.kind == HEADERS).await;
        let expected = if head.stream == 1 { 200 } else { 308 };
        assert_eq!(head.status(), expected, "stream {}", head.stream);
    }
    assert_eq!(
        origin.last("/echo/h2c").header("x-forwarded-proto"),
        Some("http")
    );
    assert_eq!(origin.record().requests.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preface_in_pieces_is_known() {
    let (edge, _origin) = start(&["--http-h2c"]).await;
    for size in [1, 3, 16] {
        let mut h2 = RawH2::plain(&edge).await;
        for piece in PREFACE.chunks(size) {
            assert!(h2.send(piece).await);
        }
        h2.send(&settings(&[(0x1, 0)])).await;
        h2.send(&get(1, "/echo")).await;
        let head = h2.wait("an answer", |frame| frame.kind == HEADERS).await;
        assert_eq!(head.status(), 200, "{size}");
    }
}

/// Detection takes no more bytes than it needs: these are shorter than the preface, or begin like it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_beside_it() {
    let (edge, origin) = start(&["--http-h2c"]).await;
    let mut client = crate::client::Client::plain(&edge).await;
    assert_eq!(client.get("/echo/a").await.status, 200);
    let post = client.send(Method::POST, "/echo/b", &[], "body").await;
    assert_eq!(post.expect("an answer").status, 200);
    let short = exchange(&edge, &[b"GET /echo HTTP/1.0\r\n\r\n"]).await;
    assert!(short.starts_with("HTTP/1."), "{short}");
    for cut in 1..5 {
        let request = b"PRIX /echo/c HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let answer = exchange(&edge, &[&request[..cut], &request[cut..]]).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{cut}: {answer}");
    }
    assert_eq!(origin.last("/echo/c").method, "PRIX");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preface_is_refused_where_it_is_not_allowed() {
    let (edge, origin) = start(&[]).await;
    let answer = exchange(&edge, &[PREFACE, &settings(&[]), &get(1, "/echo")]).await;
    let refused = ["HTTP/1.1 400 ", "HTTP/1.1 505 "];
    assert!(
        answer.is_empty() || refused.iter().any(|start| answer.starts_with(start)),
        "{answer}"
    );
    assert_eq!(origin.record().requests.len(), 0);
}

/// A silent client, and one that stops inside of the preface.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protocol_that_never_shows_is_cut() {
    let (edge, _origin) = start(&["--http-h2c"]).await;
    let part = [&PREFACE[..9]];
    let (silent, stopped) = tokio::join!(exchange(&edge, &[]), exchange(&edge, &part));
    assert_eq!((silent.as_str(), stopped.as_str()), ("", ""));
    let series = "palisade_connections_refused_total{reason=\"protocol_unknown\"}";
    assert_eq!(edge.metric(series).await, Some(2.0));
}

/// RFC 9113 has no `Upgrade: h2c` any more; passed on, it would make a tunnel past every rule.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_to_h2c_is_never_passed_on() {
    for flags in [&[][..], &["--http-h2c"]] {
        let (edge, origin) = start(flags).await;
        let request = b"GET /echo/upgrade HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
        let answer = exchange(&edge, &[request]).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let seen = origin.last("/echo/upgrade");
        for name in ["upgrade", "http2-settings"] {
            assert_eq!(seen.header(name), None, "{name}");
        }
    }
}
