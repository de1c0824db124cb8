//! What the edge answers by itself, adds or keeps back: expectations, versions, fields, bounds.

use super::socket::{Cut, Over, Socket, last_status};
use super::{MARKER, World};

const EXPECTING: &str =
    "HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expectations_are_the_upstreams_to_meet() {
    let world = World::start().await;
    let mut socket = Socket::connect(&world.edge, Over::Plain).await;
    socket
        .send(format!("POST /case {EXPECTING}").as_bytes())
        .await;
    assert_eq!(
        socket
            .answer("the expectation")
            .await
            .expect("an answer")
            .status,
        100
    );
    socket.send(b"abc").await;
    let answer = socket.answer("the request").await.expect("an answer");
    assert_eq!((answer.status, &*answer.body), (200, "POST /case|abc"));
    socket.send(MARKER).await;
    assert_eq!(
        socket.answer("the marker").await.expect("an answer").status,
        200
    );
    // Refused: the body was not sent, so the connection cannot go on, whatever comes.
    let mut socket = Socket::connect(&world.edge, Over::Plain).await;
    socket
        .send(format!("POST /refuse {EXPECTING}").as_bytes())
        .await;
    let answer = socket.answer("the refused").await.expect("an answer");
    assert_eq!(
        (answer.status, answer.field("connection")),
        (417, Some("close"))
    );
    let _ = socket
        .write(
            b"GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n",
            Cut::Whole,
        )
        .await;
    socket.ended("the refused connection").await;
    assert!(!world.origin.log().contains("/smuggled HTTP"));
}

/// Pingora never sees an h2 upstream's interim answers, so the edge asks for the body itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expectations_before_an_h2_upstream_are_met_by_the_edge() {
    let world = World::start().await;
    let mut socket = Socket::connect(&world.edge, Over::Plain).await;
    socket
        .send(format!("POST /count {EXPECTING}").as_bytes())
        .await;
    assert_eq!(
        socket
            .answer("the expectation")
            .await
            .expect("an answer")
            .status,
        100
    );
    socket.send(b"abc").await;
    let answer = socket.answer("the request").await.expect("an answer");
    assert_eq!(
        (answer.status, answer.field("connection")),
        (200, Some("keep-alive"))
    );
    assert!(answer.body.contains("\"bytes\":3"), "{}", answer.body);
    assert_eq!(world.h2.last("/count").header("expect"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_come_before_the_last() {
    let world = World::start().await;
    let mut socket = Socket::connect(&world.edge, Over::Plain).await;
    socket
        .send(b"GET /hints HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let hints = socket.answer("the hints").await.expect("an answer");
    assert_eq!((hints.status, hints.field("link")), (103, Some("</a.css>")));
    let answer = socket.answer("the request").await.expect("an answer");
    assert_eq!((answer.status, &*answer.body), (200, "GET /hints|"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_answers_for_itself() {
    let world = World::start().await;
    for over in [Over::Plain, Over::Tls] {
        let mut socket = Socket::connect(&world.edge, over).await;
        socket
            .send(b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        let answer = socket.answer("the question").await.expect("an answer");
        assert_eq!((answer.status, answer.field("content-length")), (204, None));
        assert!(
            answer
                .field("allow")
                .is_some_and(|allow| allow.contains("options"))
        );
        socket.send(MARKER).await;
        assert_eq!(
            socket.answer("the marker").await.expect("an answer").status,
            200
        );
    }
    assert_eq!(world.origin.log().requests.len(), 2);
}

/// RFC 9110, 7.6.1: what is about the connection ends here, and so does what the client names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_a_connection_stay_on_it() {
    let world = World::start().await;
    let mut socket = Socket::connect(&world.edge, Over::Plain).await;
    let fields = "connection: keep-alive, X-Secret\r\nconnection: x-other\r\nx-secret: a\r\nx-other: b\r\n\
        keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nproxy-authorization: Basic eDp5\r\n\
        te: trailers\r\ntrailer: x-sum\r\nupgrade: h2c\r\nx-kept: c\r\n";
    socket
        .send(format!("GET /case HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n").as_bytes())
        .await;
    assert_eq!(
        socket
            .answer("the request")
            .await
            .expect("an answer")
            .status,
        200
    );
    let log = world.origin.log();
    let seen = log.requests.first().expect("the request");
    for name in [
        "connection",
        "x-secret",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "trailer",
        "upgrade",
    ] {
        assert_eq!(seen.field(name), None, "{name}");
    }
    assert_eq!(seen.field("x-kept"), Some("c"));
    // Whom the request is for and where it came from cannot be called the connection's.
    for name in ["host", "Host", "x-forwarded-for", ":authority", "\"host\""] {
        let bytes =
            format!("GET /case HTTP/1.1\r\nhost: localhost\r\nconnection: close, {name}\r\n\r\n");
        assert_eq!(
            last_status(&world.edge, bytes.as_bytes()).await,
            400,
            "{name}"
        );
    }
    let many = "x, ".repeat(50);
    let bytes = format!("GET /case HTTP/1.1\r\nhost: localhost\r\nconnection: {many}y\r\n\r\n");
    assert_eq!(last_status(&world.edge, bytes.as_bytes()).await, 400);
    assert_eq!(world.origin.log().requests.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_said_to_be() {
    let world = World::start().await;
    let host = "host: localhost\r\n";
    let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(bytes - 1));
    let fields = |count: usize| {
        let fields: String = (1..count)
            .map(|number| format!("x-{number}: y\r\n"))
            .collect();
        format!("GET /case HTTP/1.1\r\n{host}{fields}\r\n")
    };
    let large = |bytes: usize| {
        format!(
            "GET /case HTTP/1.1\r\n{host}x: {}\r\n\r\n",
            "v".repeat(bytes)
        )
    };
    let trailers = |bytes: usize| {
        let head = "POST /case HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
        format!("{head}0\r\nx: {}\r\n\r\n", "v".repeat(bytes))
    };
    let extension = format!(
        "POST /case HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1;{}\r\n",
        "x".repeat(300)
    );
    let refused = [
        (target(8 * 1024 + 1), 414),
        (format!("GET /{}", "a".repeat(20_000)), 414),
        (fields(101), 431),
        (large(64 * 1024), 431),
        (
            format!("GET /case HTTP/1.1\r\nx: {}", "v".repeat(80_000)),
            431,
        ),
        (trailers(10_000), 431),
        (extension, 400),
    ];
    for (bytes, status) in &refused {
        let start = bytes.get(..30).unwrap_or("");
        assert_eq!(
            last_status(&world.edge, bytes.as_bytes()).await,
            *status,
            "{start}"
        );
    }
    assert_eq!(world.origin.log().requests, []);
    for bytes in [
        target(8 * 1024),
        fields(100),
        large(60 * 1024),
        trailers(8_000),
    ] {
        let mut socket = Socket::connect(&world.edge, Over::Plain).await;
        socket.send(bytes.as_bytes()).await;
        let start = bytes.get(..30).unwrap_or("");
        assert_eq!(
            socket.answer(start).await.expect("an answer").status,
            200,
            "{start}"
        );
    }
}

/// An h2 upstream need not say how long its answer is; HTTP/1.0 must be told, or see it end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_clients_of_new_upstreams() {
    let world = World::start().await;
    let mut socket = Socket::connect(&world.edge, Over::Plain).await;
    socket
        .send(b"GET /bytes/3 HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .await;
    let answer = socket.answer("the request").await.expect("an answer");
    assert_eq!(
        (answer.status, answer.field("content-length")),
        (200, Some("3"))
    );
    let bytes = b"GET /chunked/3 HTTP/1.0\r\nhost: localhost\r\n\r\n";
    assert_eq!(last_status(&world.edge, bytes).await, 505);
    // h2 has no request without a host.
    assert_eq!(
        last_status(&world.edge, b"GET /bytes/3 HTTP/1.0\r\n\r\n").await,
        400
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_head_is_counted_and_logged() {
    let world = World::start().await;
    let mut socket = Socket::connect(&world.edge, Over::Tls).await;
    socket
        .send(b"GET /secret?token=abc HTTP/1.1\r\nhost : localhost\r\n\r\n")
        .await;
    let answer = socket.answer("the request").await.expect("an answer");
    assert!(answer.field("alt-svc").is_some());
    let id = answer.field("x-request-id").expect("an id").to_owned();
    let line = world
        .edge
        .log_line("the access line", |line| line["request_id"] == *id)
        .await;
    assert_eq!(
        (line["status"].as_u64(), line["client"].as_str()),
        (Some(400), Some("127.0.0.1"))
    );
    assert_eq!(line["reason"], "malformed_request");
    assert_eq!(line["detail"], "white space before the colon of a field");
    assert!(!line.to_string().contains("secret"));
    let counted = world
        .edge
        .metric("palisade_rejections_total{http_route=\"\",reason=\"malformed_request\"}")
        .await;
    assert_eq!(counted, Some(1.0));
}
