//! A few bytes on the wire that become many in memory: "HTTP/2 bomb" (CVE-2026-49975 and its family).

use super::*;
use crate::client::raw_h2::*;
use crate::upstream::Record;

/// Connections at once, to see the cost of one through the noise.
const CONNECTIONS: u64 = 8;
/// For one connection, at the peak.
const GROWTH_MAX: u64 = 5 * 1024 * 1024;
/// The same with a request at work and an upstream connection for each of its streams, in
/// unoptimised code.
const GROWTH_AT_WORK_MAX: u64 = 8 * 1024 * 1024;
const STREAMS: u32 = 100;

/// As many fields as the list may have: each is 33 bytes of it, and a hundred in memory.
const TINY: &[u8] = b"\x40\x01x\x00";
/// `cookie` is in the static table.
const CRUMB: &[u8] = b"\x60\x03a=1";

/// Pseudo-header fields, then one field put into the dynamic table and named by one byte each time.
fn bomb(stream: u32, path: &str, first: &[u8], fields: usize) -> Vec<u8> {
    let mut block = request("GET", path, &[]);
    if stream == 1 {
        block.extend(first);
    } else {
        block.push(0xbe);
    }
    block.extend(vec![0xbe; fields - 1]);
    frame(HEADERS, WHOLE, stream, &block)
}

/// The bombs of one connection, whose windows never open.
fn bombs(path: &str, first: &[u8], fields: usize) -> Vec<u8> {
    let streams = (0..STREAMS).map(|number| 2 * number + 1);
    streams
        .flat_map(|stream| bomb(stream, path, first, fields))
        .collect()
}

/// The world with its neighbour, and the attackers.
struct Siege {
    world: World,
    neighbour: Neighbour,
    attackers: Vec<RawH2>,
    cpu: f64,
    rss: u64,
}

impl Siege {
    async fn begin(bytes: &[u8]) -> Self {
        let world = World::start().await;
        let neighbour = Neighbour::start(&world).await;
        let mut attackers = Vec::new();
        for _ in 0..CONNECTIONS {
            attackers
                .push(RawH2::connect(&world.edge, &[(0x1, 0), (INITIAL_WINDOW_SIZE, 0)]).await);
        }
        let (cpu, rss) = (world.edge.cpu_seconds(), world.edge.rss_bytes());
        for h2 in &mut attackers {
            assert!(h2.send(bytes).await);
        }
        Self {
            world,
            neighbour,
            attackers,
            cpu,
            rss,
        }
    }

    async fn every_bomb_is_answered(&mut self, status: u16) {
        for h2 in &mut self.attackers {
            for _ in 0..STREAMS {
                let head = h2.wait("an answer", |frame| frame.kind == HEADERS).await;
                assert_eq!(head.status(), status);
            }
        }
    }

    async fn end(self, growth_max: u64) {
        let cpu = self.world.edge.cpu_seconds() - self.cpu;
        assert!(cpu < CPU_SECONDS_MAX, "{cpu} CPU seconds");
        let grown = self.world.edge.peak_rss_bytes().saturating_sub(self.rss) / CONNECTIONS;
        assert!(grown < growth_max, "{grown} bytes for each connection");
        self.neighbour.was_served().await;
        let mut late = self.world.client(Protocol::H2).await;
        assert_eq!(late.get("/echo").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_bomb() {
    let mut siege = Siege::begin(&bombs("/echo/bomb", TINY, 480)).await;
    siege.every_bomb_is_answered(431).await;
    assert_eq!(siege.world.origin.record().count("/echo/bomb"), 0);
    siege.end(GROWTH_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookie_bomb() {
    let mut siege = Siege::begin(&bombs("/echo/bomb", CRUMB, 390)).await;
    siege.every_bomb_is_answered(431).await;
    assert_eq!(siege.world.origin.record().count("/echo/bomb"), 0);
    siege.end(GROWTH_MAX).await;
}

/// Just below the number of fields that is refused: these stay for as long as their answers wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allowed_heads_whose_answers_wait_for_a_window() {
    let mut siege = Siege::begin(&bombs("/nowhere", TINY, 90)).await;
    siege.every_bomb_is_answered(404).await;
    siege.end(GROWTH_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allowed_heads_whose_upstream_waits() {
    let siege = Siege::begin(&bombs("/hang", TINY, 90)).await;
    let calls = usize::try_from(CONNECTIONS * u64::from(STREAMS)).unwrap();
    let all = |record: &Record| record.count("/hang") == calls;
    siege.world.origin.wait("every call", all).await;
    siege.end(GROWTH_AT_WORK_MAX).await;
}

/// One head larger than all that is allowed, which the decoder has to walk through all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_without_measure_ends_its_connection() {
    let world = World::start().await;
    let neighbour = Neighbour::start(&world).await;
    let (cpu, rss) = (world.edge.cpu_seconds(), world.edge.rss_bytes());
    for _ in 0..CONNECTIONS {
        let mut h2 = RawH2::connect(&world.edge, &[]).await;
        h2.send(&bomb(1, "/echo/bomb", TINY, 16_000)).await;
        assert_eq!(h2.ended().await, Some(ENHANCE_YOUR_CALM));
    }
    counts(&world, &["h2_flood"], 8.0).await;
    assert!(world.edge.cpu_seconds() - cpu < CPU_SECONDS_MAX);
    let grown = world.edge.peak_rss_bytes().saturating_sub(rss) / CONNECTIONS;
    assert!(grown < GROWTH_MAX, "{grown} bytes for each connection");
    neighbour.was_served().await;
}
