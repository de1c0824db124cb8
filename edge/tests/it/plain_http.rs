//! The plain http port: sends clients to https, unless a route says otherwise.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::waiting::within;
use crate::upstream::Origin;

async fn start() -> (Edge, Origin) {
    let origin = Origin::h1().await;
    let policy = format!(
        "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
routes:
  - {{ name: secure, matches: [{{ path: {{ prefix: /echo }} }}], cluster: origin }}
  - {{ name: plain, matches: [{{ path: {{ prefix: /echo/plain }} }}], plain_http: true, cluster: origin }}
",
        origin.address
    );
    (Edge::start(&[("plain.yaml", &policy)]).await, origin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_is_redirected_to_https() {
    let (edge, origin) = start().await;
    let port = edge.https.port();
    let cases = [
        (
            Method::GET,
            "/echo/a?b=c",
            format!("https://localhost:{port}/echo/a?b=c"),
        ),
        (
            Method::POST,
            "/echo",
            format!("https://localhost:{port}/echo"),
        ),
        // Nothing is learned about which paths exist.
        (
            Method::GET,
            "/nowhere",
            format!("https://localhost:{port}/nowhere"),
        ),
    ];
    let mut client = Client::plain(&edge).await;
    for (method, target, location) in cases {
        let response = client
            .send(method, target, &[], "")
            .await
            .expect("an answer");
        response.assert_problem(308, "https_required");
        assert_eq!(response.header("location"), Some(&*location));
    }
    let named = client
        .get_with("/echo", &[("host", "Shop.Example:80")])
        .await;
    assert_eq!(
        named.header("location"),
        Some(&*format!("https://shop.example:{port}/echo"))
    );
    for bad in ["evil.example/path", "a b", "user@evil.example", "a\"b", ""] {
        let mut socket = TcpStream::connect(edge.http).await.expect("a connection");
        let request = format!("GET /echo HTTP/1.1\r\nhost: {bad}\r\nconnection: close\r\n\r\n");
        socket
            .write_all(request.as_bytes())
            .await
            .expect("a connection");
        let mut answer = String::new();
        within("an answer", socket.read_to_string(&mut answer))
            .await
            .expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bad}: {answer}");
    }
    assert_eq!(origin.record().requests.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_may_allow_http() {
    let (edge, origin) = start().await;
    let response = Client::plain(&edge).await.get("/echo/plain").await;
    assert_eq!(response.status, 200);
    assert_eq!(
        origin.last("/echo/plain").header("x-forwarded-proto"),
        Some("http")
    );
    for protocol in Protocol::ALL {
        let response = Client::connect(protocol, &edge)
            .await
            .get("/echo/plain")
            .await;
        assert_eq!(response.status, 200, "{protocol:?}");
    }
}
