//! A client that does not read, an upstream that does not read: neither fills the edge's memory.

use tokio_tungstenite::tungstenite::Message;

use super::World;
use crate::client::Protocol;
use crate::harness::waiting::until;

/// What the edge may grow by while ten connections stall: windows of h2 and h3 are 1 MiB a stream.
const GROWTH_BYTES_MAX: u64 = 48 << 20;
/// What one connection's upstream would have sent long before: the sum of all buffers on the way.
const IN_FLIGHT_BYTES_MAX: usize = 24 << 20;
const CONNECTIONS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stops_its_upstream() {
    for protocol in Protocol::ALL {
        let world = World::start().await;
        let before = world.edge.rss_bytes();
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(world.open(protocol, "/open/flood", &[]).await);
        }
        let count = || {
            world
                .origin
                .seen()
                .iter()
                .map(|seen| seen.messages)
                .sum::<usize>()
        };
        let mut last = (0, 0);
        // The same count five times in a row: the upstreams are stopped.
        until("the upstreams to be stopped", || {
            let now = count();
            last = if now == last.0 {
                (now, last.1 + 1)
            } else {
                (now, 0)
            };
            let stopped = now > 0 && last.1 >= 25;
            async move { stopped.then_some(()) }
        })
        .await;
        let sent = count() * 64 * 1024;
        assert!(
            sent < CONNECTIONS * IN_FLIGHT_BYTES_MAX,
            "{protocol:?}: {sent} bytes"
        );
        let growth = world.edge.rss_bytes().saturating_sub(before);
        assert!(
            growth < GROWTH_BYTES_MAX,
            "{protocol:?}: grew by {growth} bytes"
        );
        for client in &mut clients {
            assert!(
                matches!(client.next().await, Some(Message::Binary(_))),
                "{protocol:?}: goes on"
            );
        }
    }
}
