//! Streams that are opened to be reset: by the client (CVE-2023-44487), or by us because it made us
//! (CVE-2025-8671).

use tokio::net::TcpListener;

use super::*;
use crate::client::raw_h2::*;
use crate::harness::Edge;
use crate::harness::files::certificate_file;

/// Requests that an attack may get through to the upstream, of ten thousands tried: the budget of a
/// connection, and what it earns while it lasts.
const UPSTREAM_CALLS_MAX: usize = 400;

fn streams() -> impl FnMut() -> u32 {
    let mut next = 1;
    move || {
        next += 2;
        next - 2
    }
}

async fn attack(mut frames: impl FnMut(u32) -> Vec<u8>, reasons: &[&str]) {
    let world = World::start().await;
    let neighbour = Neighbour::start(&world).await;
    let (cpu, rss) = (world.edge.cpu_seconds(), world.edge.rss_bytes());
    let mut stream = streams();
    let h2 = RawH2::connect(&world.edge, &[]).await;
    let code = flood(h2, || frames(stream())).await;
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    counts(&world, reasons, 1.0).await;
    let calls = world.origin.record().count("/hang");
    assert!(calls <= UPSTREAM_CALLS_MAX, "{calls} upstream calls");
    until("every request to end", || async {
        let running = world.edge.metric("palisade_requests_in_flight").await;
        // The neighbour's.
        (running? <= 1.0).then_some(())
    })
    .await;
    let cpu = world.edge.cpu_seconds() - cpu;
    assert!(cpu < CPU_SECONDS_MAX, "{cpu} CPU seconds");
    let grown = world.edge.peak_rss_bytes().saturating_sub(rss);
    assert!(grown < 32 * 1024 * 1024, "{grown} bytes more");
    connections_are_closed(&world).await;
    neighbour.was_served().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset() {
    let pair = |stream| [get(stream, "/hang"), reset(stream, CANCEL)].concat();
    attack(pair, &["h2_reset_flood", "h2_flood"]).await;
}

/// Each for a request that is at work by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_behind_the_requests() {
    let behind = |stream: u32| {
        let earlier = stream.checked_sub(2 * 50);
        let reset = earlier.map(|earlier| reset(earlier, CANCEL));
        [get(stream, "/hang"), reset.unwrap_or_default()].concat()
    };
    attack(behind, &["h2_reset_flood", "h2_flood"]).await;
}

/// As fast as the upstream takes them, which no limit of the h2 crate sees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_of_requests_at_work() {
    const AT_ONCE: usize = 50;
    let world = World::start().await;
    let neighbour = Neighbour::start(&world).await;
    let mut h2 = RawH2::connect(&world.edge, &[]).await;
    let mut stream = streams();
    let mut calls = 0;
    loop {
        let opened: Vec<u32> = (0..AT_ONCE).map(|_| stream()).collect();
        let requests: Vec<u8> = opened.iter().flat_map(|id| get(*id, "/hang")).collect();
        h2.send(&requests).await;
        calls += AT_ONCE;
        assert!(calls <= UPSTREAM_CALLS_MAX, "nobody stopped the resets");
        world
            .origin
            .wait("the calls", |record| record.count("/hang") == calls)
            .await;
        let resets: Vec<u8> = opened.iter().flat_map(|id| reset(*id, CANCEL)).collect();
        h2.send(&resets).await;
        if !h2.is_alive().await {
            break;
        }
    }
    counts(&world, &["h2_reset_flood"], 1.0).await;
    world
        .origin
        .wait("every call to be let go", |record| {
            record.responses_aborted == calls
        })
        .await;
    connections_are_closed(&world).await;
    neighbour.was_served().await;
}

/// A window over its maximum, and more DATA than announced, by turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset() {
    let frames = |stream: u32| {
        if stream % 4 == 1 {
            let over = window_update(stream, (1 << 31) - 1);
            return [get(stream, "/hang"), over].concat();
        }
        let head = request("POST", "/hang", &[("content-length", "1")]);
        let head = frame(HEADERS, END_HEADERS, stream, &head);
        [head, frame(DATA, 0, stream, b"12")].concat()
    };
    attack(frames, &["h2_flood"]).await;
}

/// One after the other, each seen by the upstream before it is reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_lets_the_upstream_go() {
    let world = World::start().await;
    let mut h2 = RawH2::connect(&world.edge, &[]).await;
    for number in 1..=20 {
        let stream = u32::try_from(2 * number - 1).unwrap();
        h2.send(&get(stream, "/hang")).await;
        world
            .origin
            .wait("the call", |record| record.count("/hang") == number)
            .await;
        h2.send(&reset(stream, CANCEL)).await;
        world
            .origin
            .wait("the call to be let go", |record| {
                record.responses_aborted == number
            })
            .await;
    }
    assert!(h2.is_alive().await);
}

/// An upstream that takes connections and never finishes a handshake keeps tasks at work whose
/// streams are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_gone_streams_are_bounded() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let policy = format!(
        "version: 1
clusters: [{{ name: silent, endpoints: [\"{}\"], tls: {{ server_name: silent.test, ca: {} }} }}]
routes: [{{ name: all, matches: [{{ path: {{ prefix: / }} }}], cluster: silent }}]
",
        silent.local_addr().expect("an address"),
        certificate_file("ca.pem").display(),
    );
    let edge = Edge::start(&[("silent.yaml", &policy)]).await;
    let mut stream = streams();
    let mut h2 = RawH2::connect(&edge, &[]).await;
    let in_flight = async |count: f64| {
        until("the requests to run", || async {
            let running = edge.metric("palisade_requests_in_flight").await;
            (running == Some(count)).then_some(())
        })
        .await;
    };
    // Twice as many as may be open at once, and then one too many.
    for round in [1.0, 2.0] {
        let opened: Vec<u32> = (0..100).map(|_| stream()).collect();
        let requests: Vec<u8> = opened.iter().flat_map(|id| get(*id, "/")).collect();
        h2.send(&requests).await;
        in_flight(100.0 * round).await;
        if round < 2.0 {
            let resets: Vec<u8> = opened.iter().flat_map(|id| reset(*id, CANCEL)).collect();
            h2.send(&resets).await;
        } else {
            h2.send(&reset(opened[0], CANCEL)).await;
        }
    }
    h2.send(&get(stream(), "/")).await;
    assert_eq!(h2.ended().await, Some(ENHANCE_YOUR_CALM));
    let series = "palisade_connections_refused_total{reason=\"h2_task_backlog\"}";
    assert_eq!(edge.metric(series).await, Some(1.0));
}
