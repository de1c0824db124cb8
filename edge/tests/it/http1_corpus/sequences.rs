//! What takes more than one message: requests in a row, upgrades, bodies that nobody reads.

use super::socket::{Cut, Over, Socket, last_status};
use super::{MARKER, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_requests_in_one_write_are_answered_in_order() {
    let world = World::start().await;
    for over in [Over::Plain, Over::Tls] {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for number in 0..10 {
            let (head, body, text) = match number % 4 {
                0 => ("GET", String::new(), ""),
                1 => ("POST", "content-length: 5\r\n\r\nabcde".to_owned(), "abcde"),
                2 => {
                    let chunks = "3\r\nabc\r\n2\r\nde\r\n0\r\nx: y\r\n\r\n";
                    (
                        "PUT",
                        format!("transfer-encoding: chunked\r\n\r\n{chunks}"),
                        "abcde",
                    )
                }
                _ => ("HEAD", String::new(), ""),
            };
            let body = if body.is_empty() { "\r\n" } else { &body };
            // The even ones are answered in chunks.
            let target = if number % 2 == 0 { "pieces" } else { "row" };
            let line = format!("{head} /{target}/{number}");
            bytes.extend(format!("{line} HTTP/1.1\r\nhost: localhost\r\n{body}").bytes());
            let answer = if head == "HEAD" {
                String::new()
            } else {
                format!("{line}|{text}")
            };
            expected.push((line, answer));
        }
        let mut socket = Socket::connect(&world.edge, over).await;
        socket.send(&bytes).await;
        for (line, body) in &expected {
            let answer = socket.answer(line).await.expect("an answer");
            assert_eq!(
                (answer.status, &answer.body),
                (200, body),
                "{over:?} {line}"
            );
        }
    }
    assert_eq!(world.origin.log().requests.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_bad_or_last_request_is_nothing() {
    let world = World::start().await;
    let mut socket = Socket::connect(&world.edge, Over::Plain).await;
    let mut bytes = b"GET /first HTTP/1.1\r\nhost: localhost\r\n\r\nGET /bad\r\n\r\n".to_vec();
    bytes.extend(MARKER);
    socket.send(&bytes).await;
    assert_eq!(
        socket.answer("the first").await.expect("an answer").status,
        200
    );
    assert_eq!(
        socket.answer("the second").await.expect("an answer").status,
        400
    );
    socket.ended("the connection").await;
    let mut bytes = b"GET /last HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_vec();
    bytes.extend(MARKER);
    assert_eq!(last_status(&world.edge, &bytes).await, 200);
    let log = world.origin.log();
    let lines: Vec<&str> = log.requests.iter().map(|request| &*request.line).collect();
    assert_eq!(lines, ["GET /first", "GET /last"]);
}

const UPGRADE: &str = "HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// CVE-2026-2833: the bytes after an upgrade are nothing until the upstream says what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_is_not_taken_up_smuggles_nothing() {
    let world = World::start().await;
    for over in [Over::Plain, Over::Tls] {
        for hidden in ["GET /fresh\r\n\r\n".as_bytes(), b"\0\x01\x02", MARKER] {
            let mut socket = Socket::connect(&world.edge, over).await;
            let both = [format!("GET /no {UPGRADE}").as_bytes(), hidden].concat();
            socket.send(&both).await;
            let answer = socket.answer("the upgrade").await.expect("an answer");
            assert_eq!((answer.status, &*answer.body), (200, "GET /no|"));
            socket.ended("the connection").await;
        }
    }
    let log = world.origin.log();
    assert!(!log.contains("/fresh") && !log.contains("/marker"));
    assert_eq!(log.requests.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_is_taken_up_passes_bytes_as_they_are() {
    let world = World::start().await;
    for over in [Over::Plain, Over::Tls] {
        let mut socket = Socket::connect(&world.edge, over).await;
        let early = "GET /raw\n\n";
        socket
            .send(format!("GET /switch {UPGRADE}{early}").as_bytes())
            .await;
        assert_eq!(
            socket
                .answer("the upgrade")
                .await
                .expect("an answer")
                .status,
            101
        );
        assert_eq!(socket.raw(early.len()).await, early.as_bytes());
        for message in ["\0\u{1}", "HTTP/1.1 200 OK\r\n\r\n"] {
            socket.send(message.as_bytes()).await;
            assert_eq!(socket.raw(message.len()).await, message.as_bytes());
        }
    }
    assert_eq!(world.origin.log().requests.len(), 2);
}

/// CVE-2025-4366: a cache hit reads no body, and the body must not become a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_on_a_cached_request_is_no_request() {
    let world = World::start().await;
    let hidden = "GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let bodies = [
        format!("content-length: {}\r\n\r\n{hidden}", hidden.len()),
        format!(
            "transfer-encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
            hidden.len()
        ),
    ];
    for over in [Over::Plain, Over::Tls] {
        let mut socket = Socket::connect(&world.edge, over).await;
        socket
            .send(b"GET /fresh/a HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        assert_eq!(
            socket.answer("the miss").await.expect("an answer").status,
            200
        );
        for body in &bodies {
            let mut socket = Socket::connect(&world.edge, over).await;
            let head = "GET /fresh/a HTTP/1.1\r\nhost: localhost\r\n";
            socket.send(format!("{head}{body}").as_bytes()).await;
            let answer = socket.answer("the hit").await.expect("an answer");
            assert!(
                answer
                    .field("cache-status")
                    .is_some_and(|status| status.contains("hit"))
            );
            let _ = socket.write(MARKER, Cut::Whole).await;
            // Either the body was thrown away and the connection goes on, or it is closed.
            if let Some(answer) = socket.answer("the marker").await {
                assert_eq!(answer.body, "GET /marker|");
            }
        }
    }
    let log = world.origin.log();
    assert!(!log.contains("/smuggled"));
    assert!(
        log.requests
            .iter()
            .all(|request| request.line != "GET /smuggled")
    );
}
