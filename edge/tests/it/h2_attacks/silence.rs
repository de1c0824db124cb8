//! Clients that hold what they have and say nothing more. These tests wait for the edge's real
//! deadlines, a minute and two.

use std::time::Duration;

use rustix::process::Signal;

use super::*;
use crate::client::raw_h2::*;

/// The edge's longest deadlines, one after the other, with room.
const PATIENCE: Duration = Duration::from_secs(300);

async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Nothing, half of the preface, the preface alone, and half of the SETTINGS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preface_that_never_ends_is_cut() {
    let world = World::start().await;
    let whole = [PREFACE, &settings(&[(INITIAL_WINDOW_SIZE, 1)])].concat();
    let mut clients = Vec::new();
    for length in [0, 12, PREFACE.len(), PREFACE.len() + 5] {
        let mut h2 = RawH2::bare(&world.edge).await;
        h2.send(&whole[..length]).await;
        clients.push((length, h2));
    }
    for (length, mut h2) in clients {
        let code = h2.ended().await;
        let expected = (length >= PREFACE.len()).then_some(SETTINGS_TIMEOUT);
        assert_eq!(code, expected, "{length} bytes");
    }
    counts(&world, &["h2_preface_timeout"], 4.0).await;
    connections_are_closed(&world).await;
}

/// Answers of which not a byte is taken: one client keeps its windows closed, and says with PINGs how
/// well it is; another has opened them wide and never reads from its socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalls_end() {
    const STALLED: usize = 30;
    /// Of each answer: pieces of 64 KiB in Pingora's pipe, its buffers, and the h2 crate's.
    const HELD_BYTES_MAX: usize = 1024 * 1024;
    let world = World::start().await;
    let neighbour = Neighbour::start(&world).await;
    let mut idle = RawH2::connect(&world.edge, &[]).await;
    let mut closed = RawH2::connect(&world.edge, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let mut deaf = RawH2::connect(&world.edge, &[(INITIAL_WINDOW_SIZE, 1 << 24)]).await;
    let (cpu, rss) = (world.edge.cpu_seconds(), world.edge.rss_bytes());
    let streams = (0..u32::try_from(STALLED).unwrap()).map(|number| 2 * number + 1);
    let requests: Vec<u8> = streams
        .flat_map(|stream| get(stream, "/bytes/64000000"))
        .collect();
    deaf.send(&window_update(0, 1 << 30)).await;
    deaf.send(&requests).await;
    closed.send(&requests).await;
    for _ in 0..STALLED {
        closed
            .wait("an answer's head", |frame| frame.kind == HEADERS)
            .await;
    }
    neighbour.was_served().await;
    let cpu = world.edge.cpu_seconds() - cpu;
    assert!(cpu < CPU_SECONDS_MAX, "{cpu} CPU seconds");
    let mut resets = 0;
    while resets < STALLED {
        let frame = patiently("every stream to be reset", closed.next_at_last()).await;
        let frame = frame.expect("the connection outlives its streams");
        resets += usize::from(frame.kind == RST_STREAM);
    }
    world
        .origin
        .wait("every upstream to be let go", |record| {
            record.responses_aborted == 2 * STALLED
        })
        .await;
    let grown = world.edge.peak_rss_bytes().saturating_sub(rss);
    assert!(
        grown < (2 * STALLED * HELD_BYTES_MAX) as u64,
        "{grown} bytes for two connections"
    );
    assert!(closed.is_alive().await);
    patiently("the idle connections to be closed", async {
        idle.ended_at_last().await;
        closed.ended_at_last().await;
    })
    .await;
    connections_are_closed(&world).await;
    assert_eq!(
        world.client(Protocol::H2).await.get("/echo").await.status,
        200
    );
}

/// A client that answers no PING does not hold the edge to its drain deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_does_not_wait_for_the_silent() {
    let world = World::start().await;
    let mut h2 = RawH2::connect(&world.edge, &[]).await;
    world.edge.signal(Signal::TERM);
    let goaway = h2.wait("GOAWAY", |frame| frame.kind == GOAWAY).await;
    assert_eq!(goaway.code(), 0);
    let ended = world.edge.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("\"drained\""), "{ended:?}");
}
