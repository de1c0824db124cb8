//! What the edge answers itself: every refusal, complete and the same on each protocol.

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::World;
use crate::client::Protocol;
use crate::client::tls::socket as tls_socket;
use crate::harness::waiting::within;
use crate::upstream::pattern::whole;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_route_is_served() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let response = client.get("/echo/a?b=c").await;
        assert_eq!(response.status, 200, "{protocol:?}");
        assert_eq!(response.json()["target"], "/echo/a?b=c", "{protocol:?}");
        let advertised = response
            .header("alt-svc")
            .map(|value| value.contains(&format!("h3=\":{}\"", world.edge.https.port())));
        assert_eq!(
            advertised,
            (protocol != Protocol::H3).then_some(true),
            "{protocol:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_and_bad_tokens_are_401() {
    let world = World::start().await;
    let expired = world
        .signer
        .bearer(json!({ "exp": 1_000_000_000, "scope": "read" }));
    let elsewhere = world
        .signer
        .bearer(json!({ "aud": "other", "scope": "read" }));
    let forged = format!("{}x", world.reader("read"));
    let stranger = crate::harness::tokens::Signer::new("key-1").bearer(json!({ "scope": "read" }));
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let missing = client.get("/private/1").await;
        assert_eq!(missing.status, 401, "{protocol:?}");
        assert_eq!(
            missing.header("www-authenticate"),
            Some("Bearer"),
            "{protocol:?}"
        );
        let code = missing.json()["code"].as_str().expect("a code").to_owned();
        missing.assert_problem(401, &code);
        for bad in [
            &*expired,
            &*elsewhere,
            &*forged,
            &*stranger,
            "Basic YTpi",
            "Bearer",
            "Bearer a.b.c",
        ] {
            let refused = client
                .get_with("/private/1", &[("authorization", bad)])
                .await;
            assert_eq!(refused.status, 401, "{protocol:?} {bad}");
            let challenge = refused
                .header("www-authenticate")
                .expect("a challenge")
                .to_owned();
            assert!(
                challenge.starts_with("Bearer error=\"invalid_token\""),
                "{protocol:?} {bad}: {challenge}"
            );
            let secret = bad.split(' ').nth(1).filter(|token| token.len() > 20);
            let text = String::from_utf8_lossy(&refused.body).into_owned();
            assert!(
                secret.is_none_or(|token| !text.contains(token)),
                "{protocol:?}: {text}"
            );
        }
    }
    assert_eq!(world.origin.record().count("/private"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_does_not_suffice_is_403() {
    let world = World::start().await;
    let writer = world.reader("write");
    let user = world.signer.bearer(json!({ "roles": ["user"] }));
    let admin = world.signer.bearer(json!({ "roles": ["user", "admin"] }));
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let refused = client
            .get_with("/private/1", &[("authorization", &writer)])
            .await;
        refused.assert_problem(403, "insufficient_scope");
        let challenge = refused.header("www-authenticate").expect("a challenge");
        assert!(
            challenge.contains("insufficient_scope"),
            "{protocol:?}: {challenge}"
        );
        let refused = client
            .get_with("/admins", &[("authorization", &user)])
            .await;
        refused.assert_problem(403, "insufficient_role");
        let allowed = client
            .get_with("/admins", &[("authorization", &admin)])
            .await;
        assert_eq!(allowed.status, 200, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_paths_are_404_and_other_methods_405() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        client
            .get("/nowhere")
            .await
            .assert_problem(404, "route_not_found");
        let refused = client
            .send(Method::POST, "/read-only", &[], "body")
            .await
            .expect("an answer");
        refused.assert_problem(405, "method_not_allowed");
        let mut allow: Vec<&str> = refused
            .header("allow")
            .expect("allow")
            .split(", ")
            .collect();
        allow.sort_unstable();
        assert_eq!(allow, ["GET", "HEAD"], "{protocol:?}");
        // Pingora closes an HTTP/1.1 connection whose request body it did not read.
        let mut client = world.client(protocol).await;
        assert_eq!(client.get("/read-only").await.status, 200, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_answer_429_and_say_what_is_left() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let name = format!("{protocol:?}");
        let key = [("x-key", &*name)];
        for left in [1, 0] {
            let passed = client.get_with("/limited", &key).await;
            assert_eq!(passed.status, 200, "{protocol:?}");
            let quota = passed.header("ratelimit").expect("ratelimit").to_owned();
            assert!(
                quota.starts_with(&format!("\"two\";r={left};t=")),
                "{protocol:?}: {quota}"
            );
        }
        let refused = client.get_with("/limited", &key).await;
        refused.assert_problem(429, "rate_limited");
        let wait: u64 = refused
            .header("retry-after")
            .expect("retry-after")
            .parse()
            .expect("seconds");
        assert!((1..=1_800).contains(&wait), "{protocol:?}: {wait}");
        assert!(
            refused
                .header("ratelimit")
                .expect("ratelimit")
                .starts_with("\"two\";r=0;t="),
            "{refused:?}"
        );
        assert_eq!(
            refused.header("ratelimit-policy"),
            Some("\"two\";q=2;w=3600"),
            "{protocol:?}"
        );
        let other = client.get_with("/limited", &[("x-key", "other")]).await;
        // Three protocols share this key: the first two pass.
        assert_eq!(
            other.status,
            if protocol == Protocol::H3 { 429 } else { 200 },
            "{protocol:?}"
        );
    }
    assert_eq!(world.origin.record().count("/limited"), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_over_the_bound_are_413() {
    let world = World::start().await;
    let large = whole(80 * 1024);
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let before = world.origin.record().upload_bytes;
        let declared = client
            .send(Method::POST, "/count/small", &[], large.clone())
            .await
            .expect("an answer");
        declared.assert_problem(413, "body_too_large");
        assert_eq!(world.origin.record().upload_bytes, before, "{protocol:?}");
        let mut client = world.client(protocol).await;
        let (mut upload, pending) = client
            .open(Method::POST, "/count/small", &[], true)
            .await
            .expect("a stream");
        let sending = async {
            // The edge may stop listening as soon as it knows.
            if upload.send(large.clone()).await.is_ok() {
                let _ = upload.finish().await;
            }
        };
        let (response, ()) = tokio::join!(pending.head(), sending);
        assert_eq!(response.expect("an answer").0.status, 413, "{protocol:?}");
        let mut client = world.client(protocol).await;
        let fits = client
            .send(Method::POST, "/count/small", &[], whole(60 * 1024))
            .await
            .expect("an answer");
        assert_eq!(
            fits.json(),
            json!({ "bytes": 60 * 1024, "intact": true }),
            "{protocol:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_paths_are_refused_and_the_rest_is_canonical() {
    let world = World::start().await;
    let refused = [
        "/echo/a%2fb",
        "/echo/a%2Fb",
        "/echo/../private/1",
        "/echo/./a",
        "/echo/%2e%2e/a",
        "/echo/.%2E/a",
        "/echo/a\\b",
        "/echo/a%5cb",
        "/echo/a;b",
        "/echo/a%3Bb",
        "/echo/a%00",
        "/echo/a%0d%0aX:",
        "/echo/a%zz",
        "/echo/a%2",
    ];
    let canonical = [
        ("/echo//a", "/echo/a"),
        ("/echo/%61%62", "/echo/ab"),
        ("/echo/%c3%a9?x=%c3", "/echo/%C3%A9?x=%c3"),
        ("//echo/a", "/echo/a"),
        ("/echo/a%25b", "/echo/a%25b"),
    ];
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for path in refused {
            let response = client.get(path).await;
            assert_eq!(response.status, 400, "{protocol:?} {path}: {response:?}");
            response.assert_problem(400, "malformed_request");
        }
        for (path, expected) in canonical {
            let response = client.get(path).await;
            assert_eq!(response.status, 200, "{protocol:?} {path}: {response:?}");
            assert_eq!(response.json()["target"], expected, "{protocol:?} {path}");
        }
    }
    let seen = world.origin.record().requests.len();
    assert_eq!(seen, Protocol::ALL.len() * canonical.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_leaves_the_connection_usable() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for _ in 0..3 {
            let refused = client
                .send(Method::GET, "/private/1", &[], Bytes::new())
                .await
                .expect("an answer");
            assert_eq!(refused.status, 401, "{protocol:?}");
            let served = client
                .send(Method::GET, "/echo", &[], Bytes::new())
                .await
                .expect("the same connection");
            assert_eq!(served.status, 200, "{protocol:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_is_get_without_its_body() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for target in ["/bytes/1024", "/nowhere"] {
            let get = client.get(target).await;
            let head = client
                .send(Method::HEAD, target, &[], Bytes::new())
                .await
                .expect("an answer");
            assert_eq!(head.status, get.status, "{protocol:?} {target}");
            assert_eq!(
                head.header("content-length"),
                get.header("content-length"),
                "{protocol:?} {target}"
            );
            assert!(
                head.body.is_empty() && !get.body.is_empty(),
                "{protocol:?} {target}"
            );
        }
        // A cached route asks for the whole and gives the head.
        let target = format!("/fresh/head/{protocol:?}");
        let head = client
            .send(Method::HEAD, &target, &[], Bytes::new())
            .await
            .expect("an answer");
        assert_eq!((head.status, head.body.len()), (200, 0), "{protocol:?}");
    }
}

/// RFC 9112, 9.6: closing with unread bytes resets the connection, and the reset can overtake the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_arrives_though_the_body_is_still_coming() {
    let world = World::start().await;
    let body = whole(4 * 1024 * 1024);
    for round in 0..10 {
        for protocol in [Protocol::H2, Protocol::H3] {
            let mut client = world.client(protocol).await;
            let refused = client
                .send(Method::POST, "/private/1", &[], body.clone())
                .await
                .expect("an answer");
            assert_eq!(refused.status, 401, "{protocol:?} round {round}");
        }
        let mut socket = tls_socket(&world.edge).await;
        let head = format!(
            "POST /private/1 HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket
            .write_all(head.as_bytes())
            .await
            .expect("a connection");
        // A client that writes before it reads, and is told off in between.
        let _ = socket.write_all(&body).await;
        let mut status = [0; 12];
        let read = within("the refusal", socket.read_exact(&mut status)).await;
        assert!(read.is_ok(), "round {round}: the answer was lost: {read:?}");
        assert_eq!(&status, b"HTTP/1.1 401", "round {round}");
    }
}
