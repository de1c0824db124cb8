//! Traps on the way in: where a body ends, which heads are well formed, who stops early.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::Method;

use super::raw;
use crate::client::Protocol;
use crate::client::raw_h3::{Outcome, data, headers};
use crate::matrix::World;
use crate::upstream::pattern::{piece, whole};

fn join(frames: &[Bytes]) -> Bytes {
    let mut all = BytesMut::new();
    for frame in frames {
        all.put_slice(frame);
    }
    all.freeze()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_whose_fin_comes_late_is_not_chunked() {
    let world = World::start().await;
    let client = raw(&world).await;
    for delay in [Duration::ZERO, Duration::from_millis(100)] {
        let target = format!("/echo/late/{}", delay.as_millis());
        let mut request = client
            .begin(headers(&client.head("GET", &target)))
            .await
            .expect("a stream");
        // The delay is the input: a client that sends FIN in a packet of its own.
        tokio::time::sleep(delay).await;
        request.send.finish().expect("a stream");
        assert_eq!(
            request.outcome().await,
            Outcome::Answered(Some(200)),
            "{delay:?}"
        );
        let seen = world.origin.last(&target);
        assert_eq!(seen.header("transfer-encoding"), None, "{delay:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_whose_fin_never_comes_is_served() {
    let world = World::start().await;
    let client = raw(&world).await;
    let mut request = client
        .begin(headers(&client.head("GET", "/echo/open")))
        .await
        .expect("a stream");
    world
        .origin
        .wait("the request", |record| record.count("/echo/open") == 1)
        .await;
    request.send.finish().expect("a stream");
    assert_eq!(request.outcome().await, Outcome::Answered(Some(200)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_without_length_streams() {
    let world = World::start().await;
    let mut client = world.client(Protocol::H3).await;
    let (mut upload, pending) = client
        .open(Method::POST, "/count", &[], true)
        .await
        .expect("a stream");
    // Nothing sent yet: waiting for the body before asking the upstream would deadlock gRPC streams.
    world
        .origin
        .wait("the head", |record| record.count("/count") == 1)
        .await;
    for (number, offset) in [0, 32 * 1024].into_iter().enumerate() {
        upload
            .send(piece(offset, 32 * 1024))
            .await
            .expect("the edge reads");
        let expected = (number as u64 + 1) * 32 * 1024;
        world
            .origin
            .wait("each piece as it comes", |record| {
                record.upload_bytes == expected
            })
            .await;
    }
    upload.finish().await.expect("the edge reads to the end");
    assert_eq!(pending.head().await.expect("an answer").0.status, 200);
    assert_eq!(
        world.origin.last("/count").header("transfer-encoding"),
        Some("chunked")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_stream_in_an_upload_reaches_the_upstream() {
    let world = World::start().await;
    let client = raw(&world).await;
    let head = headers(&client.head("POST", "/count"));
    let mut request = client
        .begin(join(&[head, data(&whole(1000))]))
        .await
        .expect("a stream");
    world
        .origin
        .wait("the first bytes", |record| record.upload_bytes == 1000)
        .await;
    request.reset();
    world
        .origin
        .wait("the broken upload", |record| record.uploads_broken == 1)
        .await;
    assert!(client.is_open());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_differs_from_its_length_is_refused() {
    let world = World::start().await;
    let client = raw(&world).await;
    for (declared, sent) in [("5", 10), ("10", 5), ("10", 0), ("0", 1)] {
        let mut head = client.head("POST", "/count");
        head.push(("content-length".into(), declared.into()));
        let mut frames = vec![headers(&head)];
        if sent > 0 {
            frames.push(data(&whole(sent)));
        }
        let outcome = client.request(join(&frames)).await.expect("a stream");
        assert!(
            outcome.is_refusal(),
            "{declared} declared, {sent} sent: {outcome:?}"
        );
    }
    assert_eq!(world.origin.record().uploads_complete, 0);
    assert!(client.is_open());
}

/// The h3 crate reports an empty DATA frame as the end of the body; RFC 9114 allows such frames.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_data_frame_does_not_end_a_body() {
    let world = World::start().await;
    let client = raw(&world).await;
    let head = headers(&client.head("POST", "/count"));
    let at_once = [
        head.clone(),
        data(&whole(100)),
        data(b""),
        data(b""),
        data(&whole(200).slice(100..)),
    ];
    let outcome = client.request(join(&at_once)).await.expect("a stream");
    assert_eq!(outcome, Outcome::Answered(Some(200)));
    assert_eq!(world.origin.record().upload_bytes, 200);

    let mut request = client
        .begin(join(&[head, data(&whole(100)), data(b"")]))
        .await
        .expect("a stream");
    world
        .origin
        .wait("the first part", |record| record.upload_bytes == 300)
        .await;
    request
        .send
        .write_all(&data(&whole(200).slice(100..)))
        .await
        .expect("the edge reads");
    request.send.finish().expect("a stream");
    assert_eq!(request.outcome().await, Outcome::Answered(Some(200)));
    assert_eq!(world.origin.record().upload_bytes, 400);
}

/// RFC 9114, 7.1: a frame that the end of the stream cuts is an error, not the end of a body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_ends_inside_a_frame_is_not_complete() {
    let world = World::start().await;
    for cut in [1, 50, 100] {
        let client = raw(&world).await;
        let head = headers(&client.head("POST", "/count"));
        // Bodies above are whole frames; here the last frame lacks its last `cut` bytes.
        let frame = data(&whole(100));
        let frames = join(&[head, data(&whole(64)), frame.slice(..frame.len() - cut)]);
        let outcome = client.request(frames).await.expect("a stream");
        assert!(
            outcome.is_refusal() || outcome == Outcome::Closed,
            "{cut}: {outcome:?}"
        );
    }
    assert_eq!(world.origin.record().uploads_complete, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_heads_are_refused_and_never_reach_the_upstream() {
    let world = World::start().await;
    let client = raw(&world).await;
    let with = |fields: &[(&str, &str)]| {
        let mut head = client.head("GET", "/echo/malformed");
        head.extend(
            fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        head
    };
    let without = |name: &str| {
        let mut head = client.head("GET", "/echo/malformed");
        head.retain(|(field, _)| field != name);
        head
    };
    let authority = format!("localhost:{}", world.edge.https.port());
    let cases = [
        (
            "host differs from :authority",
            with(&[("host", "evil.example")]),
        ),
        (
            "two host fields",
            with(&[("host", &authority), ("host", &authority)]),
        ),
        ("no authority at all", without(":authority")),
        ("no method", without(":method")),
        ("no path", without(":path")),
        ("two paths", with(&[(":path", "/other")])),
        ("unknown pseudo field", with(&[(":protocol-x", "y")])),
        ("upper case field", with(&[("X-Upper", "1")])),
        ("line break in a value", with(&[("x-break", "a\r\nb: c")])),
        (
            "two lengths",
            with(&[("content-length", "0"), ("content-length", "1")]),
        ),
        ("signed length", with(&[("content-length", "+1")])),
    ];
    for (what, head) in cases {
        // A connection each: the RFC lets a malformed request end the connection too.
        let client = raw(&world).await;
        let outcome = client.request(headers(&head)).await.expect("a stream");
        assert!(
            outcome.is_refusal() || outcome == Outcome::Closed,
            "{what}: {outcome:?}"
        );
    }
    assert_eq!(world.origin.record().requests.len(), 0);
    let equal = with(&[("host", &authority)]);
    assert_eq!(
        client.request(headers(&equal)).await.expect("a stream"),
        Outcome::Answered(Some(200))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_waits_for_100_gets_it() {
    let world = World::start().await;
    for protocol in [Protocol::H1, Protocol::H3] {
        let mut client = world.client(protocol).await;
        let expecting = [("expect", "100-continue"), ("content-length", "4")];
        let (mut upload, pending) = client
            .open(Method::POST, "/echo/expect", &expecting, true)
            .await
            .expect("a stream");
        upload.send("body".into()).await.expect("the edge reads");
        upload.finish().await.expect("the edge reads to the end");
        let (head, _) = pending.head().await.expect("an answer");
        assert_eq!(head.status, 200, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giant_heads_are_refused_and_cost_nobody_else() {
    let world = World::start().await;
    let bystander = world.client(Protocol::H3).await;
    for bytes in [40 * 1024, 200 * 1024, 4 * 1024 * 1024] {
        let client = raw(&world).await;
        let mut head = client.head("GET", "/echo/giant");
        head.push(("x-giant".into(), "a".repeat(bytes)));
        let outcome = client.request(headers(&head)).await.expect("a stream");
        let refused = matches!(outcome, Outcome::Answered(None))
            || outcome.is_refusal()
            || outcome == Outcome::Closed;
        assert!(refused, "{bytes}: {outcome:?}");
        assert_eq!(bystander.clone().get("/echo").await.status, 200, "{bytes}");
    }
    assert_eq!(world.origin.record().count("/echo/giant"), 0);
}
