//! Handshakes that nobody means to end.

use super::{MIB, Meter, beside, open_connections, refused};
use crate::client::deaf::{DeafClient, Hears};
use crate::harness::waiting::until;
use crate::matrix::World;

/// Beyond these a client must prove its address, and beyond those it is refused (`listen/quic`).
const UNVALIDATED_MAX: f64 = 64.0;
const HANDSHAKES_MAX: f64 = 1_000.0;
/// Somebody else's connections at any moment.
const BYSTANDERS: f64 = 2.0;
/// Addresses that the attacks come from.
const SOURCES: u8 = 16;

async fn flood(world: &World, hears: Hears, each: usize) -> Vec<DeafClient> {
    let mut clients = Vec::new();
    for source in 1..=SOURCES {
        let mut client = DeafClient::new([127, 0, 1, source], hears);
        client.begin(world.edge.https, each).await;
        clients.push(client);
    }
    clients
}

/// As from forged addresses: thousands of Initials, and nobody there to answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_initials_leaves_little_behind() {
    let world = World::start().await;
    let meter = Meter::start(&world.edge);
    let clients = beside(&world, flood(&world, Hears::Nothing, 200)).await;
    beside(&world, async {
        until("most to be asked for their address", || async {
            let asked = world.edge.metric("palisade_quic_retries_total ").await;
            asked.filter(|asked| *asked >= 2_000.0)
        })
        .await;
    })
    .await;
    let open = open_connections(&world).await;
    assert!(open <= UNVALIDATED_MAX + BYSTANDERS, "{open} connections");
    meter.assert(10.0, 48 * MIB);
    drop(clients);
}

/// With addresses that exist: each proves its own, and then leaves its handshake half open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_handshakes_are_bounded_and_given_up() {
    let world = World::start().await;
    let meter = Meter::start(&world.edge);
    let attack = async {
        let clients = flood(&world, Hears::Retry, 80).await;
        until("the bound to refuse", || async {
            Some(refused(&world, "handshake_cap").await).filter(|refused| *refused > 0.0)
        })
        .await;
        clients
    };
    let clients = attack.await;
    let open = open_connections(&world).await;
    assert!(open <= HANDSHAKES_MAX, "{open} connections");
    meter.assert(15.0, 128 * MIB);
    // They are still there and go on trying; their time is over all the same.
    until("the handshakes to be given up", || async {
        Some(refused(&world, "handshake_timeout").await).filter(|given_up| *given_up >= 512.0)
    })
    .await;
    drop(clients);
    beside(&world, async {}).await;
}

/// RFC 9000, 8.1: at most three times what came from an address that is not proved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_made_to_receive_more_than_three_times_what_was_sent() {
    let world = World::start().await;
    // A first flight and nothing after it: what comes then is all the edge's doing.
    let mut client = DeafClient::with_sends([127, 0, 1, 1], Hears::Nothing, 2);
    client.begin(world.edge.https, 1).await;
    until("the handshake to be given up", || async {
        Some(refused(&world, "handshake_timeout").await).filter(|given_up| *given_up == 1.0)
    })
    .await;
    let (sent, received) = (client.traffic.sent(), client.traffic.received());
    assert!(received > 0 && sent >= 1_200, "{received} for {sent}");
    // quinn begins a datagram while anything is left of the budget, so the last one may exceed it.
    assert!(received <= 3 * sent + 1_200, "{received} for {sent}");
}
