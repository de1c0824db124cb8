//! What a client may hold and send: heads, targets, connections.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::tls::socket as tls_socket;
use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::waiting::{until, within};
use crate::matrix::World;

/// Between two bytes of a dripped head.
const DRIP: Duration = Duration::from_millis(200);

/// Drip bytes of a head that never ends until the edge hangs up.
async fn drip(mut socket: impl AsyncReadExt + AsyncWriteExt + Unpin, what: &str) {
    let mut answer = Vec::new();
    within(what, async {
        socket
            .write_all(b"GET /echo HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
            .await
            .expect("a connection");
        loop {
            tokio::select! {
                read = socket.read_buf(&mut answer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                },
                // The drip is the attack, not a wait.
                () = tokio::time::sleep(DRIP) => if socket.write_all(b"a").await.is_err() {
                    return;
                },
            }
        }
    })
    .await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("HTTP/1.1 408 "), "{what}: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_drips_in_is_cut() {
    let world = World::start().await;
    let plain = TcpStream::connect(world.edge.http)
        .await
        .expect("a connection");
    let secure = tls_socket(&world.edge).await;
    let mut reused = tls_socket(&world.edge).await;
    reused
        .write_all(b"GET /echo HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .expect("a connection");
    let mut first = [0; 16];
    reused.read_exact(&mut first).await.expect("an answer");
    tokio::join!(
        drip(plain, "the plain socket to be cut"),
        drip(secure, "the tls socket to be cut"),
        drip(reused, "the reused socket to be cut"),
    );
    assert_eq!(world.origin.record().requests.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_never_comes_is_cut() {
    let world = World::start().await;
    let mut socket = TcpStream::connect(world.edge.https)
        .await
        .expect("a connection");
    let mut nothing = [0; 1];
    let read = within("the silent socket to be cut", socket.read(&mut nothing)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_fields_are_431() {
    let world = World::start().await;
    let names: Vec<String> = (0..110).map(|number| format!("x-field-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "1")).collect();
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        client
            .get_with("/echo", &many)
            .await
            .assert_problem(431, "headers_too_large");
        // The bytes of HTTP/1.1 mean nothing after a refused head.
        let mut client = world.client(protocol).await;
        assert_eq!(
            client.get_with("/echo", &many[..80]).await.status,
            200,
            "{protocol:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_fields_never_reach_the_upstream() {
    let world = World::start().await;
    let large = "a".repeat(70 * 1024);
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let sent = client
            .send(
                Method::GET,
                "/echo/large",
                &[("x-large", &large)],
                Bytes::new(),
            )
            .await;
        // h2 and h3 announce a smaller bound, and clients keep to it by themselves.
        let refused = sent.map_or(true, |response| response.status == 431);
        assert!(refused, "{protocol:?}");
    }
    assert_eq!(world.origin.record().count("/echo/large"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_targets_are_414() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let long = format!("/echo/{}", "a".repeat(8 * 1024));
        client.get(&long).await.assert_problem(414, "uri_too_long");
        let mut client = world.client(protocol).await;
        let fits = format!("/echo/{}", "a".repeat(8 * 1024 - 6));
        assert_eq!(client.get(&fits).await.status, 200, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_the_cap_are_closed_at_once() {
    let two = "version: 1\nlisteners: { connections: { max: 2 } }\n";
    let edge = Edge::start(&[("two.yaml", two)]).await;
    let first = tls_socket(&edge).await;
    let _second = tls_socket(&edge).await;
    let mut third = TcpStream::connect(edge.https)
        .await
        .expect("the kernel accepts");
    let mut nothing = [0; 1];
    let read = within("the third to be closed", third.read(&mut nothing)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert!(
        Client::connect_to(Protocol::H3, edge.https).await.is_err(),
        "one cap for all listeners"
    );
    let refused = edge
        .metric("palisade_connections_refused_total{reason=\"connection_cap\"}")
        .await;
    assert!(refused.is_some_and(|refused| refused >= 2.0), "{refused:?}");
    drop(first);
    let mut again = until("a place to be free", || async {
        Client::connect_to(Protocol::H2, edge.https).await.ok()
    })
    .await;
    again
        .get("/nowhere")
        .await
        .assert_problem(404, "route_not_found");
}

/// The bound on a head's bytes is for each head: refusals (and cache hits) never read from the
/// client in between, where it would otherwise be reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_serves_any_number_of_requests() {
    const REQUESTS: usize = 4_000;
    let world = World::start().await;
    let mut socket = tls_socket(&world.edge).await;
    for number in 0..REQUESTS {
        socket
            .write_all(b"GET /no-such-route HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .expect("a connection");
        let mut answer = Vec::new();
        // The body is the last thing of an answer, and a JSON object without another in it.
        while !answer.ends_with(b"}") {
            let read = socket.read_buf(&mut answer).await.expect("an answer");
            assert_ne!(read, 0, "closed after {number} requests");
        }
        assert!(answer.starts_with(b"HTTP/1.1 404"), "request {number}");
    }
}
