//! Requests of many messages.

use bytes::Bytes;
use http::Method;

use super::{ARRAY, Coming, EVENTS, LINES, World};
use crate::client::{Protocol, Upload};

const SUM: &str = "/v1/sum";
const CHAT: &str = "/v1/rooms/red/chat";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_and_arrays_are_messages() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for (media_type, body) in [
            (LINES, "{\"number\":1}\n{\"number\":2}\n"),
            (ARRAY, "[{\"number\":1},{\"number\":2}]"),
        ] {
            let headers = [("content-type", media_type)];
            let answer = client.send(Method::POST, SUM, &headers, body).await;
            let answer = answer.expect("an answer");
            let expected = serde_json::json!({ "sum": "3", "messages": "2" });
            assert_eq!(answer.json(), expected, "{protocol:?} {media_type}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_goes_both_ways_at_once() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        for accept in [LINES, EVENTS] {
            let mut client = world.client(protocol).await;
            let headers = [("content-type", LINES), ("accept", accept)];
            let opened = client.open(Method::POST, CHAT, &headers, true).await;
            let (mut upload, pending) = opened.expect("a request");
            say(&mut upload, "{\"text\":\"one\"}\n").await;
            let mut coming = Coming::of(pending).await;
            coming.until("\"seq\":\"1\"").await;
            for turn in 2..20 {
                say(&mut upload, "{\"text\":\"more\"}\n").await;
                coming.until(&format!("\"seq\":\"{turn}\"")).await;
            }
            upload.finish().await.expect("an end");
            assert!(coming.end().await, "{protocol:?} {accept}");
            world.until_idle().await;
        }
    }
}

/// Both directions are full at once, and neither waits for the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_of_many_words() {
    const TURNS: usize = 20_000;
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let headers = [("content-type", LINES), ("accept", LINES)];
        let opened = client.open(Method::POST, CHAT, &headers, true).await;
        let (mut upload, pending) = opened.expect("a request");
        let sending = async move {
            let words = format!("{{\"text\":\"{}\"}}\n", "word ".repeat(10)).repeat(100);
            let words = Bytes::from(words);
            for _ in 0..TURNS / 100 {
                upload.send(words.clone()).await.expect("room");
            }
            upload.finish().await.expect("an end");
        };
        let reading = async {
            let mut coming = Coming::of(pending).await;
            assert!(coming.end().await, "{protocol:?}");
            coming.seen.lines().count()
        };
        let ((), lines) = tokio::join!(sending, reading);
        assert_eq!(lines, TURNS, "{protocol:?}");
        world.until_idle().await;
    }
}

/// The body may be silent for a second and must not be slow; lines may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_lines_may_pause() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        for (media_type, parts, status) in [
            (LINES, ["{\"number\":1}\n", "{\"number\":2}\n"], 200),
            (ARRAY, ["[{\"number\":1},", "{\"number\":2}]"], 408),
        ] {
            let mut client = world.client(protocol).await;
            let headers = [("content-type", media_type)];
            let opened = client.open(Method::POST, SUM, &headers, true).await;
            let (mut upload, pending) = opened.expect("a request");
            say(&mut upload, parts[0]).await;
            let mut clock = world.client(protocol).await;
            assert_eq!(clock.get("/v1/echo/x?pause=1.5s").await.status, 200);
            let _ = upload.send(Bytes::from_static(parts[1].as_bytes())).await;
            let _ = upload.finish().await;
            // An edge that gave the request up may have closed before the rest of it came.
            let head = pending.head().await.map(|(head, _)| head.status);
            assert!(
                head.as_ref().map_or(status == 408, |seen| *seen == status),
                "{protocol:?} {media_type}: {head:?}"
            );
        }
        world.until_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_line_is_told_whatever_follows() {
    let world = World::start().await;
    let headers = [("content-type", LINES)];
    // Far more than is on its way at once.
    let long = format!("{{}}\nnonsense\n{}", "{\"number\":1}\n".repeat(50_000));
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let answer = client.send(Method::POST, SUM, &headers, long.clone()).await;
        let answer = answer.expect("an answer");
        answer.assert_problem(400, "invalid_json");
        let detail = answer.json()["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(detail.starts_with("line `2`: "), "{protocol:?}: {detail}");

        // Nothing follows, and the body does not end.
        let mut client = world.client(protocol).await;
        let opened = client.open(Method::POST, SUM, &headers, true).await;
        let (mut upload, pending) = opened.expect("a request");
        say(&mut upload, "{}\n{}\n{\"number\":{}}\n").await;
        let mut coming = Coming::of(pending).await;
        assert_eq!(coming.head.status, 400, "{protocol:?}");
        assert!(coming.end().await, "{protocol:?}");
        assert!(coming.seen.contains("line `3`: "), "{}", coming.seen);
        upload.abort();
        world.until_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_cancels_the_call() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        for target in [SUM, CHAT] {
            let mut client = world.client(protocol).await;
            let headers = [("content-type", LINES), ("accept", LINES)];
            let accept = if target == SUM {
                &headers[..1]
            } else {
                &headers
            };
            let opened = client.open(Method::POST, target, accept, true).await;
            let (mut upload, pending) = opened.expect("a request");
            say(&mut upload, "{}\n").await;
            world.until_under_way(1).await;
            upload.abort();
            pending.abort();
            drop(client);
            world.until_idle().await;
        }
    }
}

async fn say(upload: &mut Upload, line: &'static str) {
    let said = upload.send(Bytes::from_static(line.as_bytes())).await;
    said.expect("the edge reads");
}
