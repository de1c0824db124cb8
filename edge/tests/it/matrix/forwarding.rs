//! What the upstream is told: who asks, from where, and under which names; never what a client made up.

use bytes::Bytes;
use http::Method;

use super::World;
use crate::client::Protocol;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoofed_identity_never_arrives() {
    let world = World::start().await;
    let token = world.reader("read");
    let spoofed = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-user", "root"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("x-user-id", "root"),
        ("x_user_id", "root"),
        ("x-tenant", "evil"),
        ("x_tenant", "evil"),
        ("x-request-id", "mine"),
        ("x-original-url", "/admin"),
    ];
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let target = format!("/echo/{protocol:?}");
        let response = client.get_with(&target, &spoofed).await;
        assert_eq!(response.status, 200, "{protocol:?}");
        let seen = world.origin.last(&target);
        for (name, value) in spoofed {
            assert_ne!(seen.header(name), Some(value), "{protocol:?} {name}");
        }
        for absent in [
            "forwarded",
            "x-real-ip",
            "x-user-id",
            "x_user_id",
            "x-tenant",
            "x_tenant",
            "x-original-url",
            "x-forwarded-user",
        ] {
            assert_eq!(seen.header(absent), None, "{protocol:?} {absent}");
        }
        let authority = format!("localhost:{}", world.edge.https.port());
        assert_eq!(
            seen.header("x-forwarded-for"),
            Some("127.0.0.1"),
            "{protocol:?}"
        );
        assert_eq!(
            seen.header("x-forwarded-proto"),
            Some("https"),
            "{protocol:?}"
        );
        assert_eq!(
            seen.header("x-forwarded-host"),
            Some(&*authority),
            "{protocol:?}"
        );
        assert_eq!(seen.header("host"), Some(&*authority), "{protocol:?}");

        let mut with_token = spoofed.to_vec();
        with_token.push(("authorization", &token));
        assert_eq!(
            client.get_with("/private/7", &with_token).await.status,
            200,
            "{protocol:?}"
        );
        let seen = world.origin.last("/private/7");
        assert_eq!(seen.header("x-user-id"), Some("u1"), "{protocol:?}");
        assert_eq!(seen.header("x-tenant"), Some("acme"), "{protocol:?}");
        assert_eq!(
            seen.header("authorization"),
            None,
            "{protocol:?}: tokens are forwarded only on request"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_has_one_id_on_both_sides() {
    let world = World::start().await;
    let mut ids = std::collections::HashSet::new();
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for _ in 0..5 {
            let response = client.get("/echo/id").await;
            let id = response.header("x-request-id").expect("an id").to_owned();
            assert_eq!(
                world.origin.last("/echo/id").header("x-request-id"),
                Some(&*id),
                "{protocol:?}"
            );
            assert_eq!(id.len(), 32, "{protocol:?}: {id}");
            let line = world
                .edge
                .log_line("the access line", |line| line["request_id"] == *id)
                .await;
            assert_eq!(
                (line["status"].as_u64(), line["route"].as_str()),
                (Some(200), Some("open")),
                "{line}"
            );
            assert!(ids.insert(id), "{protocol:?}: an id came twice");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_on_with_a_span_of_the_edge() {
    let world = World::start().await;
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let parent = format!("00-{trace}-{span}-01");
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        client
            .get_with(
                "/echo/trace",
                &[("traceparent", &parent), ("tracestate", "a=b")],
            )
            .await;
        let seen = world.origin.last("/echo/trace");
        let forwarded: Vec<&str> = seen
            .header("traceparent")
            .expect("a trace")
            .split('-')
            .collect();
        assert_eq!(
            (forwarded[0], forwarded[1], forwarded[3]),
            ("00", trace, "01"),
            "{protocol:?}"
        );
        assert_ne!(forwarded[2], span, "{protocol:?}");
        assert_eq!(seen.header("tracestate"), Some("a=b"), "{protocol:?}");

        client
            .get_with(
                "/echo/broken-trace",
                &[("traceparent", "nonsense"), ("tracestate", "a=b")],
            )
            .await;
        let seen = world.origin.last("/echo/broken-trace");
        assert_eq!(
            seen.header("traceparent").map(str::len),
            Some(55),
            "{protocol:?}"
        );
        assert_eq!(seen.header("tracestate"), None, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_arrive_as_one_field() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        client
            .get_with(
                "/echo/cookies",
                &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3; d=4")],
            )
            .await;
        let seen = world.origin.last("/echo/cookies");
        let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=4"], "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_keep_their_framing() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for method in [Method::GET, Method::DELETE, Method::HEAD] {
            let target = format!("/echo/bodyless/{method}");
            client
                .send(method.clone(), &target, &[], Bytes::new())
                .await
                .expect("an answer");
            let seen = world.origin.last(&target);
            assert_eq!(seen.method, method.as_str(), "{protocol:?}");
            assert_eq!(
                seen.header("transfer-encoding"),
                None,
                "{protocol:?} {method}"
            );
            assert_eq!(
                seen.header("content-length").unwrap_or("0"),
                "0",
                "{protocol:?} {method}"
            );
        }
        let posted = client
            .send(Method::POST, "/echo/posted", &[], "hello")
            .await
            .expect("an answer");
        assert_eq!(posted.json()["body"], "hello", "{protocol:?}");
        let seen = world.origin.last("/echo/posted");
        assert_eq!(seen.header("content-length"), Some("5"), "{protocol:?}");
        assert_eq!(seen.header("transfer-encoding"), None, "{protocol:?}");
    }
}
