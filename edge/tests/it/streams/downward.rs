//! Answers of many messages.

use super::{ARRAY, Coming, EVENTS, LINES, World};
use crate::client::Protocol;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_while_the_stream_is_open() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        for accept in [LINES, EVENTS, ARRAY] {
            let mut client = world.client(protocol).await;
            let target = "/v1/count/0?from=1&pause=0.002s";
            let mut coming = Coming::get(&mut client, target, accept).await;
            assert_eq!(coming.head.status, 200, "{protocol:?} {accept}");
            assert_eq!(coming.head.headers["content-type"], accept);
            coming.until(r#""number":"5""#).await;
            assert_eq!(world.echo.under_way(), 1, "{protocol:?} {accept}");
            // The client leaves.
            coming.download.abort();
            drop(client);
            world.until_idle().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_streams_end_and_cut_ones_do_not() {
    let world = World::start().await;
    let fails = "/v1/count/9?from=1&fail_after=2&pause=0.1s&fail.code=5&fail.message=gone";
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for accept in [LINES, EVENTS, ARRAY] {
            let mut whole = Coming::get(&mut client, "/v1/count/2?from=1", accept).await;
            assert!(whole.end().await, "{protocol:?} {accept}");
            assert!(whole.seen.contains(r#""number":"2""#), "{}", whole.seen);
        }
        let mut failed = Coming::get(&mut client, fails, LINES).await;
        assert!(failed.end().await, "{protocol:?}");
        let last = failed.seen.lines().last().expect("a line");
        let last: serde_json::Value = serde_json::from_str(last).expect("json");
        let error = &last["error"];
        assert_eq!(
            (&error["code"], &error["status"], &error["detail"]),
            (&"not_found".into(), &404.into(), &"gone".into())
        );
        let id = failed.head.headers["x-request-id"].to_str().expect("text");
        assert_eq!(error["request_id"], id, "{protocol:?}");

        let mut failed = Coming::get(&mut client, fails, ARRAY).await;
        assert_eq!(failed.head.status, 200);
        assert!(!failed.end().await, "{protocol:?}: {}", failed.seen);
        assert!(!failed.seen.contains(']'), "{}", failed.seen);
    }
    world.until_idle().await;
}

/// `impatient` lets its endpoints be silent for half a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_keep_a_quiet_stream() {
    let world = World::start().await;
    let target = "/quiet/v1/count/0?from=1&pause=3.2s";
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let mut events = Coming::get(&mut client, target, EVENTS).await;
        assert_eq!(events.head.headers["cache-control"], "no-store");
        assert_eq!(events.head.headers["x-accel-buffering"], "no");
        events.until("id: 2\n").await;
        assert!(events.seen.contains(":\n\n:\n\n"), "{}", events.seen);
        events.download.abort();

        // Lines have no heartbeat.
        let mut client = world.client(protocol).await;
        let mut lines = Coming::get(&mut client, target, LINES).await;
        assert!(!lines.end().await, "{protocol:?}: {}", lines.seen);
        drop(client);
        world.until_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cached_route_does_not_keep_a_stream() {
    let world = World::start().await;
    for accept in [LINES, EVENTS, ARRAY] {
        let target = "/kept/v1/count/0?from=1&pause=0.002s";
        let mut streams = Vec::new();
        for _ in 0..3 {
            // Nobody waits for the end of another's.
            let mut client = world.client(Protocol::H2).await;
            let mut coming = Coming::get(&mut client, target, accept).await;
            coming.until(r#""number":"2""#).await;
            let status = coming.head.headers["cache-status"].to_str().expect("text");
            assert!(
                !status.contains("hit") && !status.contains("stored"),
                "{status}"
            );
            streams.push((coming, client));
        }
        assert_eq!(world.echo.under_way(), 3);
        drop(streams);
        world.until_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_has_begun_is_not_tried_again() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        for accept in [LINES, EVENTS, ARRAY] {
            let before = world.echo.begun();
            let mut client = world.client(protocol).await;
            let target = "/repeated/v1/count/9?fail_after=2&pause=0.1s&fail.code=14";
            let mut coming = Coming::get(&mut client, target, accept).await;
            assert_eq!(coming.end().await, accept != ARRAY, "{protocol:?} {accept}");
            assert_eq!(coming.head.status, 200, "{}", coming.seen);
            assert_eq!(world.echo.begun(), before + 1, "{protocol:?} {accept}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_goes_away_within_a_stream() {
    for accept in [LINES, EVENTS, ARRAY] {
        let world = World::start().await;
        let mut client = world.client(Protocol::H2).await;
        let target = "/v1/count/0?from=1&pause=0.002s";
        let mut coming = Coming::get(&mut client, target, accept).await;
        coming.until(r#""number":"2""#).await;
        world.cut();
        let is_whole = coming.end().await;
        assert_eq!(is_whole, accept != ARRAY, "{accept}");
        if is_whole {
            assert!(
                coming.seen.contains("\"code\":\"upstream_broken\""),
                "{}",
                coming.seen
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_does_not_read_is_not_made() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let before = world.echo.counted();
        let mut client = world.client(protocol).await;
        let target = "/v1/count/100000?padding_bytes=65536";
        let coming = Coming::get(&mut client, target, LINES).await;
        let mut other = world.client(protocol).await;
        for _ in 0..200 {
            assert_eq!(other.get("/v1/echo/hello").await.status, 200);
        }
        // What sockets, windows and pipes hold: 4 MiB toward an h2 client are 64 of them.
        let made = world.echo.counted() - before;
        assert!(made < 400, "{protocol:?}: {made}");
        coming.download.abort();
        drop(client);
        world.until_idle().await;
    }
}
