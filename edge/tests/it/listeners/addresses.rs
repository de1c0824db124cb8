//! Caps on connections: from one address, and in their handshake.

use std::time::Duration;

use futures::future::join_all;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{Guarded, OTHER, connect_from, exchange, get, listeners};
use crate::client::{Client, Protocol};
use crate::harness::usage::Usage;
use crate::harness::waiting::{until, within};

/// How long a connection that was not closed is watched; refused ones are closed at once.
const WATCH: Duration = Duration::from_millis(500);

/// Whether the edge keeps this silent connection.
async fn is_kept(socket: &mut TcpStream) -> bool {
    let mut nothing = [0; 1];
    tokio::time::timeout(WATCH, socket.read(&mut nothing))
        .await
        .is_err()
}

async fn kept(sockets: &mut [TcpStream]) -> usize {
    let kept = join_all(sockets.iter_mut().map(is_kept)).await;
    kept.into_iter().filter(|kept| *kept).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_from_one_address_stays_within_its_share() {
    const FLOOD: usize = 300;
    let world = Guarded::start("connections: { per_address: 5 }, timeouts: { head: 1h }").await;
    let good = connect_from(OTHER, world.edge.http).await;
    let before = Usage::of(&world.edge);
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        flood.push(connect_from([127, 0, 0, 3].into(), world.edge.http).await);
    }
    assert_eq!(kept(&mut flood).await, 5);
    world.refused("address_cap", FLOOD - 5).await;
    let (status, _) = exchange(good, get("/echo", "").as_bytes()).await;
    assert_eq!(status, 200, "other addresses are served");
    before.grew_by_at_most(&world.edge, 2.0, 8 << 20);
    assert_eq!(world.origin.record().requests.len(), 1);
    drop(flood);
    until("places of the address to be free", || async {
        let mut socket = connect_from([127, 0, 0, 3].into(), world.edge.http).await;
        is_kept(&mut socket).await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_and_tcp_share_the_cap_and_it_is_live() {
    let world = Guarded::start("connections: { per_address: 2 }").await;
    let tcp = Client::connect(Protocol::H2, &world.edge).await;
    let mut quic = Client::connect(Protocol::H3, &world.edge).await;
    assert_eq!(quic.get("/echo").await.status, 200);
    let third = TcpStream::connect(world.edge.https).await;
    assert!(!is_kept(&mut third.expect("the kernel accepts")).await);
    // The handshake succeeds, as it proves the address; no request does.
    let refused = async {
        match Client::connect_to(Protocol::H3, world.edge.https).await {
            Err(_) => true,
            Ok(mut client) => {
                let sent = client.send(http::Method::GET, "/echo", &[], "").await;
                sent.is_err()
            }
        }
    };
    assert!(refused.await, "a third connection was served");
    world.refused("address_cap", 2).await;
    let three = listeners("connections: { per_address: 3 }");
    world.edge.files.write_policy("listeners.yaml", &three);
    let mut third = until("a third place", || async {
        Client::connect_to(Protocol::H2, world.edge.https)
            .await
            .ok()
    })
    .await;
    assert_eq!(third.get("/echo").await.status, 200);
    tcp.disconnect();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_has_no_share() {
    let map = "connections: { per_address: 2 }, trusted_proxies: [127.0.0.2]";
    let world = Guarded::start(map).await;
    let mut many = Vec::new();
    for _ in 0..10 {
        many.push(connect_from(OTHER, world.edge.http).await);
    }
    assert_eq!(kept(&mut many).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_handshakes_leave_the_others_alone() {
    const EACH: usize = 50;
    let map = "connections: { handshakes: 20 }, timeouts: { handshake: 8s }";
    let world = Guarded::start(map).await;
    let mut established = [
        Client::connect(Protocol::H1, &world.edge).await,
        Client::connect(Protocol::H2, &world.edge).await,
        Client::connect(Protocol::H3, &world.edge).await,
    ];
    let before = Usage::of(&world.edge);
    let half_open = |last: u8| {
        let source = [127, 0, 0, last].into();
        join_all((0..EACH).map(move |_| connect_from(source, world.edge.https)))
    };
    // One address holds a quarter of the places, so another's handshake still succeeds.
    let mut held = half_open(2).await;
    world.refused("address_handshake_cap", EACH - 5).await;
    established[1] = Client::connect(Protocol::H2, &world.edge).await;
    // Four addresses hold all of them.
    for last in 3..=5 {
        held.extend(half_open(last).await);
    }
    held.extend(half_open(6).await);
    world.refused("handshake_cap", EACH).await;
    for client in &mut established {
        assert_eq!(client.get("/echo").await.status, 200);
    }
    // The plain listener has no handshake, and QUIC has places of its own.
    let plain = connect_from(OTHER, world.edge.http).await;
    assert_eq!(exchange(plain, get("/echo", "").as_bytes()).await.0, 200);
    let mut quic = Client::connect(Protocol::H3, &world.edge).await;
    assert_eq!(quic.get("/echo").await.status, 200);
    let mut nothing = [0; 1];
    for socket in &mut held {
        let read = within("a half-open handshake to be cut", socket.read(&mut nothing)).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    world.refused("handshake_timeout", 20).await;
    let mut next = Client::connect(Protocol::H2, &world.edge).await;
    assert_eq!(next.get("/echo").await.status, 200);
    before.grew_by_at_most(&world.edge, 3.0, 16 << 20);
}
