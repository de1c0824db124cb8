//! Redirects: where they point, what protects them, and that no request leads them astray.

use http::Method;

use super::World;
use crate::client::{Client, Protocol};

const ROUTES: &str = r#"
limits:
  - { name: plenty, key: client_address, rate: 1000/h }
routes:
  - { name: moved, matches: [{ path: { prefix: /old } }, { path: { prefix: /older/still } }], redirect: { prefix: /new } }
  - { name: flat, matches: [{ path: { prefix: /flat } }], redirect: { prefix: /, status: 301 } }
  - name: users
    matches: [{ path: { template: "/u/{id}/{tab}" } }]
    redirect: { status: 308, path: "/users/{id}/{tab}.html" }
    response_headers: { set: { x-test-edit: "{tab} of {id}" } }
    limits: [plenty]
  - { name: host, matches: [{ path: { prefix: /host } }], redirect: { status: 303, host: www.example.com } }
  - { name: port, matches: [{ path: { prefix: /port } }], redirect: { status: 307, port: 8443 } }
  - { name: scheme, matches: [{ path: { prefix: /scheme } }], redirect: { scheme: http, host: plain.example } }
  - { name: whole, matches: [{ path: { prefix: /whole } }], redirect: { scheme: https, host: a.example, port: 444, path: /x } }
  - { name: usual, matches: [{ path: { prefix: /usual } }], redirect: { port: 443 } }
  - { name: secret, matches: [{ path: /secret }], auth: { issuer: main }, redirect: { host: secret.example } }
  - { name: plain, matches: [{ path: { prefix: /plain } }], plain_http: true, redirect: { host: a.example } }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_point_where_the_policy_says() {
    let world = World::start(ROUTES).await;
    let own = world.edge.https.port();
    let here = format!("https://localhost:{own}");
    let cases = [
        ("/old", 302, format!("{here}/new")),
        (
            "/old/a/b?x=1&y=%2F",
            302,
            format!("{here}/new/a/b?x=1&y=%2F"),
        ),
        ("/older/still/a/", 302, format!("{here}/new/a/")),
        ("/flat", 301, format!("{here}/")),
        ("/flat/a", 301, format!("{here}/a")),
        ("/u/7/posts?q", 308, format!("{here}/users/7/posts.html?q")),
        (
            "/host/a?b",
            303,
            format!("https://www.example.com:{own}/host/a?b"),
        ),
        ("/port/a", 307, "https://localhost:8443/port/a".to_owned()),
        ("/scheme", 302, "http://plain.example/scheme".to_owned()),
        ("/whole/a?b", 302, "https://a.example:444/x?b".to_owned()),
        ("/usual", 302, "https://localhost/usual".to_owned()),
    ];
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for (target, status, location) in &cases {
            let response = client.get(target).await;
            assert_eq!(
                (response.status, response.header("location")),
                (*status, Some(&**location)),
                "{protocol:?} {target}"
            );
            assert_eq!(response.header("content-length"), Some("0"));
            assert!(response.body.is_empty());
        }
    }
    assert!(world.origin.record().requests.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_makes_them_point_to_another_host() {
    let world = World::start(ROUTES).await;
    let here = format!("https://localhost:{}/", world.edge.https.port());
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for target in [
            "/flat//evil.example",
            "/flat///evil.example/..a",
            "/flat/@evil.example",
            "/flat/https://evil.example",
            "//old//evil.example",
            "/u/%40evil.example/x",
            "/u/evil.example:1/%3Fx",
        ] {
            let response = client.get(target).await;
            let location = response.header("location").expect("a location");
            let rest = location.strip_prefix(&here);
            let rest = rest.unwrap_or_else(|| panic!("{protocol:?} {target}: {location}"));
            assert!(!rest.starts_with('/'), "{protocol:?} {target}: {location}");
        }
        for target in [
            "/flat/%2F%2Fevil.example",
            "/u/%2Fa/b",
            "/u/a%5Cb/c",
            "/flat/../a",
        ] {
            let refused = client.get(target).await;
            refused.assert_problem(400, "malformed_request");
            assert_eq!(refused.header("location"), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_answers_like_others() {
    let world = World::start(ROUTES).await;
    let bearer = world.bearer();
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let response = client.get("/u/7/posts").await;
        assert_eq!(response.header("x-test-edit"), Some("posts of 7"));
        let quota = response.header("ratelimit").expect("what the limit says");
        assert!(quota.starts_with("\"plenty\";r="), "{protocol:?}: {quota}");
        assert!(response.header("x-content-type-options").is_some());
        let line = world.line_of(&response).await;
        assert_eq!(line["answered_by"], "edge", "{line}");
        assert_eq!(line["reason"], "redirect", "{line}");
        assert_eq!(line["route"], "users", "{line}");
        assert_eq!(line["status"], 308, "{line}");

        let refused = client.get("/secret").await;
        assert_eq!(refused.status, 401, "{protocol:?}");
        assert_eq!(refused.header("location"), None, "{protocol:?}");
        let caller = [("authorization", &*bearer)];
        let allowed = client.get_with("/secret", &caller).await;
        let line = world.line_of(&allowed).await;
        assert_eq!(
            (&line["status"], &line["subject"]),
            (&302.into(), &"u1".into())
        );

        // Pingora closes an HTTP/1.1 connection whose request body it did not read.
        let mut other = world.client(protocol).await;
        let posted = other.send(Method::POST, "/port", &[], "a body").await;
        assert_eq!(posted.expect("an answer").status, 307, "{protocol:?}");
        let head = client.send(Method::HEAD, "/old/x", &[], "").await;
        assert!(head.expect("an answer").header("location").is_some());
    }
    let series = "palisade_rejections_total{http_route=\"users\",reason=\"redirect\"}";
    assert_eq!(world.edge.metric(series).await, None, "nothing was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_plain_text_they_keep_the_scheme() {
    let world = World::start(ROUTES).await;
    let mut client = Client::plain(&world.edge).await;
    let port = world.edge.http.port();
    let plain = client.get("/plain/a").await;
    let expected = format!("http://a.example:{port}/plain/a");
    assert_eq!(plain.header("location"), Some(&*expected));
    let usual = client.get_with("/plain", &[("host", "b.example")]).await;
    assert_eq!(usual.header("location"), Some("http://a.example/plain"));
    client
        .get("/old")
        .await
        .assert_problem(308, "https_required");
}
