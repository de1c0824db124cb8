//! Every case of the tables: whole and byte by byte, in plain text and over TLS.

use std::collections::HashSet;

use serde_json::Value;

use super::socket::{Cut, Over, Socket};
use super::{Accepted, MARKER, Refused, World};
use super::{accepted, bad_bodies, bad_fields, bad_framing, bad_start_lines};

fn refused_heads() -> Vec<&'static Refused> {
    let tables = [
        bad_start_lines::CASES,
        bad_fields::CASES,
        bad_framing::CASES,
    ];
    tables.into_iter().flatten().collect()
}

/// The answer is ours, says why in words, and is the last thing on the connection.
async fn refuse(world: &World, case: &Refused, over: Over, cut: Cut) {
    let (name, section, status, bytes) = *case;
    let what = format!("{name} ({section}) {over:?} {cut:?}");
    let mut socket = Socket::connect(&world.edge, over).await;
    let mut sent = bytes.to_vec();
    sent.extend(MARKER);
    // The edge may have closed before the last byte.
    let _ = socket.write(&sent, cut).await;
    let answer = socket.answer(&what).await;
    let answer = answer.unwrap_or_else(|| panic!("{what}: closed without an answer"));
    assert_eq!(
        answer.status, status,
        "{what}: {}{}",
        answer.head, answer.body
    );
    assert_eq!(answer.field("connection"), Some("close"), "{what}");
    assert_eq!(
        answer.field("content-type"),
        Some("application/problem+json"),
        "{what}"
    );
    let problem: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(problem["status"], status, "{what}");
    assert_eq!(
        problem["request_id"].as_str(),
        answer.field("x-request-id"),
        "{what}"
    );
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty()),
        "{what}"
    );
    socket.ended(&what).await;
}

async fn refuse_heads(over: Over, cut: Cut) {
    let world = World::start().await;
    for case in refused_heads() {
        refuse(&world, case, over, cut).await;
        let log = world.origin.log();
        assert!(
            log.bytes.is_empty(),
            "{}: {:?} went upstream",
            case.0,
            String::from_utf8_lossy(&log.bytes)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_heads_are_refused() {
    refuse_heads(Over::Plain, Cut::Whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_heads_are_refused_over_tls() {
    refuse_heads(Over::Tls, Cut::Whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_heads_are_refused_byte_by_byte() {
    refuse_heads(Over::Plain, Cut::Bytes).await;
}

/// The upstream has the head by then: what it gets must break off, and look like it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_bodies_never_look_whole() {
    let world = World::start().await;
    for over in [Over::Plain, Over::Tls] {
        for cut in [Cut::Whole, Cut::Bytes] {
            for case in bad_bodies::CASES {
                refuse(&world, case, over, cut).await;
                let log = world.origin.log();
                assert_eq!(log.requests, [], "{} {over:?} {cut:?}", case.0);
                assert!(!log.contains("/marker"), "{} {over:?} {cut:?}", case.0);
            }
        }
    }
    // The connections that it had are not used again.
    let mut socket = Socket::connect(&world.edge, Over::Plain).await;
    socket.send(MARKER).await;
    assert_eq!(
        socket.answer("the marker").await.expect("an answer").status,
        200
    );
    assert_eq!(world.origin.log().requests.len(), 1);
}

/// The requests that the bytes mean reach the origin, each once, and the connection goes on.
async fn accept(world: &World, case: &Accepted, over: Over, cut: Cut) {
    let (name, section, bytes, expected) = *case;
    let what = format!("{name} ({section}) {over:?} {cut:?}");
    let before = world.origin.log().requests.len();
    let mut socket = Socket::connect(&world.edge, over).await;
    socket.write(bytes, cut).await.expect("the edge reads");
    let mut kept = true;
    for (line, body) in expected {
        let answer = socket.answer(line).await;
        let answer = answer.unwrap_or_else(|| panic!("{what}: closed before {line}"));
        assert_eq!(answer.status, 200, "{what}: {}{}", answer.head, answer.body);
        if !line.starts_with("HEAD") {
            assert_eq!(answer.body, format!("{line}|{body}"), "{what}");
        }
        kept = answer.field("connection") == Some("keep-alive");
    }
    // HTTP/1.0 keeps a connection only where it is asked to.
    let old = bytes.windows(8).any(|window| window == b"HTTP/1.0");
    let asked = bytes.windows(10).any(|window| window == b"keep-alive");
    assert_eq!(kept, !old || asked, "{what}");
    if kept {
        socket.send(MARKER).await;
        let answer = socket.answer("the marker").await.expect("an answer");
        assert_eq!(
            (answer.status, &*answer.body),
            (200, "GET /marker|"),
            "{what}"
        );
    } else {
        socket.ended(&what).await;
    }
    let log = world.origin.log();
    let seen: Vec<(&str, &[u8])> = log.requests[before..]
        .iter()
        .map(|request| (&*request.line, &*request.body))
        .collect();
    let mut wanted: Vec<(&str, &[u8])> = expected
        .iter()
        .map(|(line, body)| (*line, body.as_bytes()))
        .collect();
    wanted.extend(kept.then_some(("GET /marker", &b""[..])));
    assert_eq!(seen, wanted, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_bytes_mean_what_they_say() {
    for over in [Over::Plain, Over::Tls] {
        for cut in [Cut::Whole, Cut::Bytes] {
            let world = World::start().await;
            for case in accepted::CASES {
                accept(&world, case, over, cut).await;
            }
            let log = world.origin.log();
            assert_eq!(log.broken, 0, "{over:?} {cut:?}");
            // RFC 9110, 6.5.2: trailers of requests end at the edge.
            assert!(!log.contains("x-sum"), "{over:?} {cut:?}");
        }
    }
}

/// A few of each kind, cut in two at every place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cut_changes_a_verdict() {
    let world = World::start().await;
    let good = [
        "chunks with extensions and trailers",
        "two requests in a row",
    ];
    for case in accepted::CASES.iter().filter(|case| good.contains(&case.0)) {
        for place in 1..case.2.len() {
            accept(&world, case, Over::Plain, Cut::At(place)).await;
        }
    }
    let world = World::start().await;
    let bad = ["length and coding", "bare LF after a field", "length twice"];
    for case in refused_heads().iter().filter(|case| bad.contains(&case.0)) {
        for place in 1..case.3.len() {
            refuse(&world, case, Over::Plain, Cut::At(place)).await;
        }
    }
    assert_eq!(world.origin.log().bytes, b"");
}

#[test]
fn the_corpus_is_large_and_named() {
    let refused = refused_heads().into_iter().chain(bad_bodies::CASES);
    let names: Vec<(&str, &str)> = refused
        .map(|case| (case.0, case.1))
        .chain(accepted::CASES.iter().map(|case| (case.0, case.1)))
        .collect();
    assert!(names.len() >= 150, "{}", names.len());
    let distinct: HashSet<&str> = names.iter().map(|(name, _)| *name).collect();
    assert_eq!(distinct.len(), names.len());
    let of_http = |section: &str| section.starts_with("91") || section.starts_with("6455");
    assert!(names.iter().all(|(_, section)| of_http(section)));
}
