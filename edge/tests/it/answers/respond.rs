//! Answers that policies write themselves.

use http::Method;

use super::World;
use crate::client::Protocol;
use crate::harness::files::replace;
use crate::harness::waiting::until;

const ROUTES: &str = r#"
limits:
  - { name: one, key: { header: x-key }, rate: 1/h }
routes:
  - { name: robots, matches: [{ path: /robots.txt }], respond: { body: "User-agent: *\n" } }
  - name: closed
    matches: [{ path: { prefix: /closed } }]
    respond: { status: 503, file: ../page.html, content_type: text/html }
    response_headers: { set: { retry-after: "120" } }
  - { name: gone, matches: [{ path: /gone }], respond: { status: 410 } }
  - { name: nothing, matches: [{ path: /nothing }], respond: { status: 204 } }
  - { name: unchanged, matches: [{ path: /unchanged }], respond: { status: 304 } }
  - { name: private, matches: [{ path: /private }], auth: { issuer: main }, limits: [one], respond: { body: mine } }
  - { name: small, matches: [{ path: /small }], request_body_max: 4B, respond: { body: small } }
  - { name: service, matches: [{ path: { prefix: /a.Service } }], respond: { status: 503 } }
  - { name: page-service, matches: [{ path: { prefix: /b.Service } }], redirect: { host: a.example } }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_is_what_the_policy_says() {
    let world = World::start(ROUTES).await;
    let text = Some("text/plain; charset=utf-8");
    let cases = [
        ("/robots.txt", 200, text, Some("14"), "User-agent: *\n"),
        (
            "/closed/a",
            503,
            Some("text/html"),
            Some("15"),
            "<h1>closed</h1>",
        ),
        ("/gone", 410, None, Some("0"), ""),
        ("/nothing", 204, None, None, ""),
        ("/unchanged", 304, None, None, ""),
    ];
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for (target, status, kind, length, body) in cases {
            let response = client.get(target).await;
            assert_eq!(
                (response.status, &*response.body),
                (status, body.as_bytes()),
                "{protocol:?} {target}"
            );
            assert_eq!(
                response.header("content-type"),
                kind,
                "{protocol:?} {target}"
            );
            assert_eq!(
                response.header("content-length"),
                length,
                "{protocol:?} {target}"
            );
            let head = client.send(Method::HEAD, target, &[], "").await;
            let head = head.expect("an answer");
            assert_eq!(
                (head.status, head.body.len()),
                (status, 0),
                "{protocol:?} {target}"
            );
            assert_eq!(
                head.header("content-length"),
                length,
                "{protocol:?} {target}"
            );
            let mut other = world.client(protocol).await;
            let posted = other.send(Method::POST, target, &[], "a body").await;
            assert_eq!(
                posted.expect("an answer").status,
                status,
                "{protocol:?} {target}"
            );
            let line = world.line_of(&response).await;
            assert_eq!(line["answered_by"], "edge", "{line}");
            assert_eq!(line["reason"], "direct_response", "{line}");
        }
        let closed = client.get("/closed").await;
        assert_eq!(closed.header("retry-after"), Some("120"), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_comes_after_what_protects_it() {
    let world = World::start(ROUTES).await;
    let bearer = world.bearer();
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        assert_eq!(client.get("/private").await.status, 401, "{protocol:?}");
        let key = format!("{protocol:?}");
        let caller = [("authorization", &*bearer), ("x-key", &*key)];
        let mine = client.get_with("/private", &caller).await;
        assert_eq!(
            (mine.status, &*mine.body),
            (200, &b"mine"[..]),
            "{protocol:?}"
        );
        let refused = client.get_with("/private", &caller).await;
        refused.assert_problem(429, "rate_limited");
        let large = client.send(Method::POST, "/small", &[], "large").await;
        large
            .expect("an answer")
            .assert_problem(413, "body_too_large");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_gets_the_status_that_grpc_has_for_it() {
    let world = World::start(ROUTES).await;
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    for protocol in [Protocol::H2, Protocol::H3] {
        let mut client = world.client(protocol).await;
        for (target, code) in [
            ("/a.Service/Call", "14"),
            ("/b.Service/Call", "12"),
            ("/robots.txt", "12"),
            ("/gone", "12"),
        ] {
            let response = client.send(Method::POST, target, &grpc, "").await;
            let response = response.expect("an answer");
            assert_eq!(response.status, 200, "{protocol:?} {target}");
            assert_eq!(
                response.header("grpc-status"),
                Some(code),
                "{protocol:?} {target}"
            );
            assert_eq!(response.header("location"), None, "{protocol:?} {target}");
            let line = world.line_of(&response).await;
            assert_eq!(line["grpc_status"].to_string(), code, "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_file_is_another_answer() {
    let world = World::start(ROUTES).await;
    let mut client = world.client(Protocol::H2).await;
    assert_eq!(&*client.get("/closed").await.body, b"<h1>closed</h1>");
    let page = world.edge.files.root().join("page.html");
    replace(&page, b"<h1>open again soon</h1>");
    until("the other page", || {
        let mut client = client.clone();
        async move {
            let response = client.get("/closed").await;
            (&*response.body == b"<h1>open again soon</h1>").then_some(())
        }
    })
    .await;
}
