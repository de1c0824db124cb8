//! Connections that are established, and streams that want nothing.

use bytes::Bytes;

use super::{H3_EXCESSIVE_LOAD, H3_REQUEST_INCOMPLETE, MIB, Meter, beside, refused};
use crate::client::raw_h3::{Outcome, RawH3, RawRequest, begun, data, headers};
use crate::matrix::World;

const HEADERS: u64 = 0x1;
/// Reserved to be ignored (RFC 9114, 7.2.8).
const RESERVED: u64 = 0x21;
/// Request streams that one connection may have open.
const STREAMS_MAX: usize = 100;
/// Connections of one attack that holds memory; each may take 5 MiB.
const CLIENTS: usize = 8;

async fn raw(world: &World) -> RawH3 {
    let connected = RawH3::connect(world.edge.https).await;
    connected.expect("a connection")
}

/// Ends with H3_EXCESSIVE_LOAD, long before `attack` is through.
async fn assert_cut_off(
    world: &World,
    label: &str,
    client: &RawH3,
    attack: impl Future<Output = ()>,
) {
    let cut = async {
        tokio::select! {
            () = attack => client.closed().await,
            code = client.closed() => code,
        }
    };
    assert_eq!(beside(world, cut).await, Some(H3_EXCESSIVE_LOAD));
    assert_eq!(refused(world, label).await, 1.0, "{label}");
}

/// The twin of CVE-2023-44487.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_end_the_connection() {
    let world = World::start().await;
    let meter = Meter::start(&world.edge);
    let client = raw(&world).await;
    let attack = async {
        for _ in 0..20_000 {
            let head = headers(&client.head("GET", "/hang/reset"));
            let Ok(mut request) = client.begin(head).await else {
                return;
            };
            request.reset();
        }
    };
    assert_cut_off(&world, "h3_unanswered", &client, attack).await;
    let calls = world.origin.record().count("/hang");
    assert!(calls <= 512 + STREAMS_MAX, "{calls} upstream calls");
    meter.assert(5.0, 32 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_end_the_connection() {
    let world = World::start().await;
    let meter = Meter::start(&world.edge);
    let client = raw(&world).await;
    let attack = async {
        for _ in 0..20_000 {
            let mut head = client.head("GET", "/echo/malformed");
            head.push(("connection".into(), "close".into()));
            if client.request(headers(&head)).await.is_err() {
                return;
            }
        }
    };
    assert_cut_off(&world, "h3_unanswered", &client, attack).await;
    assert_eq!(world.origin.record().count("/echo/malformed"), 0);
    meter.assert(5.0, 32 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_without_use_end_the_connection() {
    let world = World::start().await;
    for (what, frame) in [
        ("empty", data(b"")),
        ("unknown", begun(RESERVED, 0)),
        ("large", {
            let mut frame = begun(RESERVED, 64 * 1024).to_vec();
            frame.extend([0; 64 * 1024]);
            frame.into()
        }),
    ] {
        let meter = Meter::start(&world.edge);
        let before = refused(&world, "h3_noise").await;
        let client = raw(&world).await;
        let head = headers(&client.head("POST", "/count/noise"));
        let mut request = client.begin(head).await.expect("a stream");
        let attack = async {
            let many: Bytes = frame.repeat(64).into();
            for _ in 0..10_000 {
                if request.send.write_all(&many).await.is_err() {
                    return;
                }
            }
        };
        let cut = async {
            tokio::select! {
                () = attack => client.closed().await,
                code = client.closed() => code,
            }
        };
        assert_eq!(beside(&world, cut).await, Some(H3_EXCESSIVE_LOAD), "{what}");
        assert_eq!(refused(&world, "h3_noise").await, before + 1.0, "{what}");
        meter.assert(5.0, 32 * MIB);
    }
    assert_eq!(
        world.origin.record().uploads_complete,
        world.origin.record().count("/echo")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unidirectional_streams_without_use_end_the_connection() {
    let world = World::start().await;
    let meter = Meter::start(&world.edge);
    let client = raw(&world).await;
    let attack = async {
        for _ in 0..20_000 {
            // 0x3b is no type that anybody has defined.
            if client.unidirectional(&[0x3b; 64]).await.is_err() {
                return;
            }
        }
    };
    assert_cut_off(&world, "h3_noise", &client, attack).await;
    meter.assert(5.0, 32 * MIB);
}

/// All but the last byte of a head of this size, on as many streams as there may be.
async fn begin_heads(client: &RawH3, bytes: usize) -> Vec<RawRequest> {
    let mut frames = begun(HEADERS, bytes).to_vec();
    frames.resize(frames.len() + bytes - 1, b'a');
    let frames = Bytes::from(frames);
    let mut requests = Vec::new();
    for _ in 0..STREAMS_MAX {
        match client.begin(frames.clone()).await {
            Ok(request) => requests.push(request),
            Err(_) => break,
        }
    }
    requests
}

/// Together just below what one connection may hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_never_whole_are_given_up() {
    let world = World::start().await;
    let meter = Meter::start(&world.edge);
    let mut held = Vec::new();
    for _ in 0..CLIENTS {
        let client = raw(&world).await;
        let requests = begin_heads(&client, 10 * 1024).await;
        held.push((client, requests));
    }
    beside(&world, async {
        for request in held.iter_mut().flat_map(|(_, requests)| requests) {
            let outcome = request.outcome().await;
            assert_eq!(outcome, Outcome::Reset(H3_REQUEST_INCOMPLETE));
        }
    })
    .await;
    assert!(held.iter().all(|(client, _)| client.is_open()));
    let given_up = refused(&world, "head_timeout").await;
    assert_eq!(given_up, (CLIENTS * STREAMS_MAX) as f64);
    meter.assert(15.0, CLIENTS as u64 * 5 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giant_heads_that_are_never_whole_end_their_connection() {
    let world = World::start().await;
    let meter = Meter::start(&world.edge);
    for _ in 0..CLIENTS {
        let client = raw(&world).await;
        let cut = async {
            // Kept, or dropping them would take back what was begun.
            let _requests = begin_heads(&client, 15 * 1024).await;
            client.closed().await
        };
        assert_eq!(beside(&world, cut).await, Some(H3_EXCESSIVE_LOAD));
    }
    assert_eq!(refused(&world, "h3_held_bytes").await, CLIENTS as f64);
    meter.assert(15.0, CLIENTS as u64 * 5 * MIB);
}

/// One byte each of a static table's line becomes a field of 64 (RFC 9204, appendix A, 31).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bomb_of_indexed_fields_is_refused_as_too_large() {
    let world = World::start().await;
    let meter = Meter::start(&world.edge);
    let mut bomb = begun(HEADERS, 15_000).to_vec();
    bomb.extend([0, 0]);
    bomb.resize(bomb.len() + 14_998, 0xdf);
    let bomb = Bytes::from(bomb);
    let client = raw(&world).await;
    beside(&world, async {
        for _ in 0..500 {
            let outcome = client.request(bomb.clone()).await.expect("a stream");
            assert_eq!(outcome, Outcome::Answered(Some(431)));
        }
    })
    .await;
    meter.assert(10.0, 32 * MIB);
}

/// Windows that fill up at once: each answer waits, and its upstream with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_held_in_bounds() {
    let world = World::start().await;
    let meter = Meter::start(&world.edge);
    let client = RawH3::connect_with(world.edge.https, Some(1024)).await;
    let client = client.expect("a connection");
    let mut requests = Vec::new();
    for _ in 0..100 {
        let head = headers(&client.head("GET", "/bytes/52428800"));
        let mut request = client.begin(head).await.expect("a stream");
        request.send.finish().expect("a stream");
        requests.push(request);
    }
    beside(&world, async {
        world
            .origin
            .wait("all requests", |record| {
                record.count("/bytes/52428800") == 100
            })
            .await;
    })
    .await;
    beside(&world, async {}).await;
    // Five gigabytes were asked for; on each stream Pingora holds some pieces of 64 KiB.
    meter.assert(20.0, 100 * MIB);
}
