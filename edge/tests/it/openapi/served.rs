//! `openapi` and `docs` on routes, on h1, h2 and h3 with the same assertions.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;

use super::World;
use crate::client::Protocol;

const ROUTES: &str = r#"
limits:
  - { name: few, key: client_address, rate: 10/m, burst: 5 }
routes:
  - { name: echo, matches: [{ path: { prefix: /v1/echo }, methods: [GET] }], cluster: echo, translate: true }
  - name: people
    matches: [{ path: /v1/people }]
    auth: { issuer: main, scopes: [write] }
    limits: [few]
    cluster: echo
    translate: true
  - name: mounted
    matches: [{ path: { prefix: /api/v2 } }]
    rewrite: { prefix: /v1 }
    hosts: [other.localhost]
    cluster: echo
    translate: true
  - { name: raw, matches: [{ path: { prefix: /v1/count } }], cluster: echo }
  - { name: openapi, matches: [{ path: /openapi.json }], openapi: { title: Echo } }
  - { name: old, matches: [{ path: /v30.json }], openapi: { version: 3.0 } }
  - { name: mine, matches: [{ path: /mine.json }], auth: { issuer: main }, openapi: {} }
  - { name: docs, matches: [{ path: { prefix: /docs } }], docs: { openapi: /openapi.json, title: "A & B" } }
"#;

fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().expect("paths");
    let all = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("operations").keys();
        methods.map(move |method| format!("{method} {path}"))
    });
    all.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_lists_what_routes_take() {
    let world = World::start(ROUTES).await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let response = client.get("/openapi.json").await;
        assert_eq!(response.status, 200, "{protocol:?}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("cache-control"), Some("no-cache"));
        let document: Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(document["openapi"], "3.1.1");
        assert_eq!(document["info"]["title"], "Echo");
        // POST /v1/echo, the raw route and the other host's are not this host's to take.
        let expected = ["get /v1/echo/{text}", "post /v1/people"];
        let expected: BTreeSet<_> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(operations(&document), expected, "{protocol:?}");
        let guarded = &document["paths"]["/v1/people"]["post"];
        assert_eq!(
            guarded["security"][0]["bearer-main"][0], "write",
            "{guarded}"
        );
        assert_eq!(guarded["x-ratelimit"][0]["requests"], 10, "{guarded}");
        assert!(guarded["responses"].get("429").is_some(), "{guarded}");

        let etag = response.header("etag").expect("an entity tag");
        let again = client
            .get_with("/openapi.json", &[("if-none-match", etag)])
            .await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{protocol:?}");
        assert_eq!(again.header("etag"), Some(etag));
        let head = client.send(Method::HEAD, "/openapi.json", &[], "").await;
        let head = head.expect("an answer");
        assert_eq!((head.status, head.body.len()), (200, 0), "{protocol:?}");
        assert_eq!(
            head.header("content-length"),
            response.header("content-length")
        );

        let old = client.get("/v30.json").await;
        let old: Value = serde_json::from_slice(&old.body).expect("JSON");
        assert_eq!(old["openapi"], "3.0.3");
        // What protects a route protects its document.
        client
            .get("/mine.json")
            .await
            .assert_problem(401, "token_missing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_host_is_another_document() {
    let world = World::start(ROUTES).await;
    let mut client = world.client(Protocol::H1).await;
    let response = client
        .get_with("/openapi.json", &[("host", "other.localhost")])
        .await;
    let document: Value = serde_json::from_slice(&response.body).expect("JSON");
    let found = operations(&document);
    assert!(found.contains("post /api/v2/echo"), "{found:?}");
    assert!(
        found.contains("get /api/v2/look/things/{text}"),
        "{found:?}"
    );
    assert!(!found.contains("post /v1/echo"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_brings_all_it_needs() {
    let world = World::start(ROUTES).await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for target in ["/docs", "/docs/"] {
            let page = client.get(target).await;
            assert_eq!(page.status, 200, "{protocol:?} {target}");
            assert_eq!(
                page.header("content-type"),
                Some("text/html; charset=utf-8")
            );
            let policy = page.header("content-security-policy").expect("a policy");
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self';"),
                "{policy}"
            );
            let text = String::from_utf8_lossy(&page.body);
            assert!(text.contains("<title>A &amp; B</title>"), "{text}");
            let files = text.split('"').filter(|text| text.starts_with("/docs/"));
            let files: Vec<_> = files.collect();
            assert_eq!(files.len(), 4, "{text}");
            for file in files {
                let file = client.get(file).await;
                assert_eq!(file.status, 200, "{protocol:?}");
                let cached = file.header("cache-control").expect("cache-control");
                assert!(cached.ends_with("immutable"), "{cached}");
                assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
                let length = file.header("content-length").map(str::parse);
                assert_eq!(length, Some(Ok(file.body.len())));
            }
        }
        assert_eq!(client.get("/docs/swagger-ui.js").await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_is_another_document() {
    let world = World::start(ROUTES).await;
    let mut client = world.client(Protocol::H2).await;
    let before = client.get("/openapi.json").await;
    let fewer = ROUTES.replace("/v1/people", "/v1/nobody");
    let policy = format!("version: 1\n{fewer}");
    world.edge.files.write_policy("routes.yaml", &policy);
    crate::harness::waiting::until("the other document", || {
        let mut client = client.clone();
        let before = before.body.clone();
        async move {
            let now = client.get("/openapi.json").await;
            let document: Value = serde_json::from_slice(&now.body).expect("JSON");
            (now.body != before).then(|| assert_eq!(operations(&document).len(), 1))
        }
    })
    .await;
}
