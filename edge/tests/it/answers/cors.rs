//! Pages of other origins, judged as a browser judges them: `Page` is the client side of the Fetch
//! standard's CORS protocol, and asks the edge what its user's page asks.

use http::Method;

use super::World;
use crate::client::{Client, Protocol, Response};

const ROUTES: &str = r#"
limits:
  - { name: one, key: { header: x-key }, rate: 1/h }
routes:
  - name: api
    matches: [{ path: { prefix: /echo/api }, methods: [GET, PUT, DELETE] }]
    cors:
      origins: ["https://app.test", "https://*.pages.test:8443"]
      methods: [GET, PUT]
      headers: [x-wanted, content-type]
      expose_headers: [x-request-id]
      credentials: true
      max_age: 1h
    auth: { issuer: main, optional: true }
    cluster: origin
  - name: private
    matches: [{ path: /echo/private, methods: [PUT] }]
    cors: { origins: ["https://app.test"], credentials: true }
    auth: { issuer: main }
    limits: [one]
    cluster: origin
  - { name: open, matches: [{ path: { prefix: /fresh } }], cors: { origins: ["*"] }, cluster: origin }
  - { name: pages, matches: [{ path: { prefix: /fresh-for-pages } }], cors: { origins: ["https://app.test", "https://b.test"] }, cache: {}, cluster: origin }
  - { name: silent, matches: [{ path: { prefix: /echo/silent } }], cluster: origin }
  - { name: say, matches: [{ path: /say }], cors: { origins: ["https://app.test"] }, respond: { body: said } }
"#;

/// A page of an origin, whose browser lets it do only what answers allow.
struct Page<'c> {
    origin: &'static str,
    /// The page asks for cookies and the like to be sent.
    credentials: bool,
    client: &'c mut Client,
}

impl Page<'_> {
    /// 4.10, "CORS check".
    fn may_read(&self, response: &Response) -> bool {
        let allowed = response.header("access-control-allow-origin");
        if !self.credentials && allowed == Some("*") {
            return true;
        }
        let with_credentials = response.header("access-control-allow-credentials") == Some("true");
        allowed == Some(self.origin) && (!self.credentials || with_credentials)
    }

    async fn send(&mut self, method: Method, target: &str, fields: &[(&str, &str)]) -> Response {
        let mut fields = fields.to_vec();
        fields.push(("origin", self.origin));
        let sent = self.client.send(method, target, &fields, "").await;
        sent.unwrap_or_else(|broken| panic!("{target}: {broken:?}"))
    }

    /// 4.8, "CORS-preflight fetch": the answer, and whether the browser goes on to the request.
    async fn preflight(
        &mut self,
        method: &Method,
        target: &str,
        names: &[&str],
    ) -> (Response, bool) {
        let mut fields = vec![("access-control-request-method", method.as_str())];
        // Sorted, in lower case, without spaces.
        let names_text = names.join(",");
        if !names.is_empty() {
            fields.push(("access-control-request-headers", &names_text));
        }
        let answer = self.send(Method::OPTIONS, target, &fields).await;
        let list = |name: &str| {
            let text = answer.header(name).unwrap_or("").to_owned();
            let items = text.split(',').map(|item| item.trim().to_ascii_lowercase());
            items.collect::<Vec<_>>()
        };
        let methods = list("access-control-allow-methods");
        let headers = list("access-control-allow-headers");
        let safelisted = [Method::GET, Method::HEAD, Method::POST].contains(method);
        let method_allowed = safelisted || methods.contains(&method.as_str().to_ascii_lowercase());
        let names_allowed = names.iter().all(|name| headers.iter().any(|h| h == name));
        let is_ok = (200..300).contains(&answer.status);
        let passes = is_ok && self.may_read(&answer) && method_allowed && names_allowed;
        (answer, passes)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflights_are_answered_without_the_upstream() {
    let world = World::start(ROUTES).await;
    let cases = [
        ("https://app.test", Method::PUT, &["x-wanted"][..], true),
        (
            "https://app.test",
            Method::GET,
            &["content-type", "x-wanted"],
            true,
        ),
        ("https://eu.pages.test:8443", Method::PUT, &[], true),
        ("https://app.test", Method::DELETE, &[], false),
        ("https://app.test", Method::PUT, &["x-other"], false),
        ("https://evil.test", Method::PUT, &[], false),
        ("https://app.test.evil.test", Method::PUT, &[], false),
        ("http://app.test", Method::PUT, &[], false),
        ("https://pages.test:8443", Method::PUT, &[], false),
        ("https://evilpages.test:8443", Method::PUT, &[], false),
        ("null", Method::PUT, &[], false),
    ];
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for (origin, method, names, expected) in &cases {
            let mut page = Page {
                origin,
                credentials: true,
                client: &mut client,
            };
            let (answer, passes) = page.preflight(method, "/echo/api/x", names).await;
            assert_eq!(
                passes, *expected,
                "{protocol:?} {origin} {method} {names:?}"
            );
            assert_eq!((answer.status, answer.body.len()), (204, 0), "{protocol:?}");
            let vary = answer.header("vary").expect("vary");
            assert!(vary.split(", ").any(|name| name == "origin"), "{vary}");
            let line = world.line_of(&answer).await;
            assert_eq!(line["answered_by"], "edge", "{line}");
            assert_eq!(line["reason"], "cors_preflight", "{line}");
            assert_eq!(line["route"], "api", "{line}");
        }
        let mut page = Page {
            origin: "https://app.test",
            credentials: true,
            client: &mut client,
        };
        let (answer, _) = page.preflight(&Method::PUT, "/echo/api", &[]).await;
        assert_eq!(answer.header("access-control-max-age"), Some("3600"));
        assert_eq!(
            answer.header("access-control-allow-methods"),
            Some("GET, PUT")
        );
    }
    assert!(world.origin.record().requests.is_empty());
    let series = "palisade_rejections_total{http_route=\"api\",reason=\"cors_preflight\"}";
    assert_eq!(world.edge.metric(series).await, None, "nothing was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflights_carry_no_token_and_need_none() {
    let world = World::start(ROUTES).await;
    let bearer = world.bearer();
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let mut page = Page {
            origin: "https://app.test",
            credentials: true,
            client: &mut client,
        };
        let key = format!("{protocol:?}");
        for _ in 0..3 {
            let names = ["authorization", "x-key"];
            let (answer, passes) = page.preflight(&Method::PUT, "/echo/private", &names).await;
            assert!(passes, "{protocol:?}: {answer:?}");
            assert_eq!(answer.header("ratelimit"), None, "{protocol:?}");
        }
        // Refusals can be read as well: the page learns that it must sign in, or wait.
        let refused = page.send(Method::PUT, "/echo/private", &[]).await;
        assert_eq!(refused.status, 401, "{protocol:?}");
        assert!(page.may_read(&refused), "{protocol:?}: {refused:?}");
        let caller = [("authorization", &*bearer), ("x-key", &*key)];
        let allowed = page.send(Method::PUT, "/echo/private", &caller).await;
        assert_eq!(allowed.status, 200, "{protocol:?}");
        assert!(page.may_read(&allowed), "{protocol:?}: {allowed:?}");
        let refused = page.send(Method::PUT, "/echo/private", &caller).await;
        assert_eq!(refused.status, 429, "{protocol:?}");
        assert!(page.may_read(&refused), "{protocol:?}: {refused:?}");
        let said = page.send(Method::GET, "/say", &[]).await;
        assert_eq!(
            said.header("access-control-allow-origin"),
            Some("https://app.test")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_for_the_pages_that_the_policy_names() {
    let world = World::start(ROUTES).await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for (origin, expected) in [
            ("https://app.test", true),
            ("https://a.b.pages.test:8443", true),
            ("https://evil.test", false),
            ("null", false),
        ] {
            let mut page = Page {
                origin,
                credentials: true,
                client: &mut client,
            };
            let response = page.send(Method::GET, "/echo/api", &[]).await;
            // No access control: the request was served, and the browser keeps the answer.
            assert_eq!(response.status, 200, "{protocol:?} {origin}");
            assert_eq!(page.may_read(&response), expected, "{protocol:?} {origin}");
            assert_eq!(
                response.header("vary"),
                Some("origin"),
                "{protocol:?} {origin}"
            );
            let exposed = expected.then_some("x-request-id");
            assert_eq!(response.header("access-control-expose-headers"), exposed);
        }
        let no_page = client.get("/echo/api").await;
        assert_eq!(no_page.header("vary"), Some("origin"), "{protocol:?}");
        assert_eq!(
            no_page.header("access-control-allow-origin"),
            None,
            "{protocol:?}"
        );

        let mut page = Page {
            origin: "https://anybody.test",
            credentials: false,
            client: &mut client,
        };
        let open = page.send(Method::GET, "/fresh/open", &[]).await;
        assert!(page.may_read(&open), "{protocol:?}: {open:?}");
        assert_eq!(
            open.header("access-control-allow-origin"),
            Some("*"),
            "{protocol:?}"
        );
        assert_eq!(open.header("vary"), None, "{protocol:?}");
        let names = ["x-anything", "x-else"];
        let (_, passes) = page.preflight(&Method::PATCH, "/fresh/open", &names).await;
        assert!(passes, "{protocol:?}: what is not narrowed is open");
        page.credentials = true;
        assert!(
            !page.may_read(&open),
            "{protocol:?}: never with credentials"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_answer_is_told_for_each_page_anew() {
    let world = World::start(ROUTES).await;
    for (index, protocol) in Protocol::ALL.into_iter().enumerate() {
        let mut client = world.client(protocol).await;
        let target = format!("/fresh-for-pages/{protocol:?}");
        for (origin, may_read) in [
            ("https://app.test", true),
            ("https://b.test", true),
            ("https://chosen-by-upstream.test", false),
            ("https://app.test", true),
        ] {
            let mut page = Page {
                origin,
                credentials: false,
                client: &mut client,
            };
            let response = page.send(Method::GET, &target, &[]).await;
            assert_eq!(page.may_read(&response), may_read, "{protocol:?} {origin}");
            // Whatever the upstream said is gone, but for what else it varies by.
            assert_eq!(response.header("access-control-allow-credentials"), None);
            assert_eq!(response.header("access-control-expose-headers"), None);
            assert_eq!(response.header("vary"), Some("accept-encoding, origin"));
        }
        let asked = world.origin.record().count("/fresh-for-pages");
        assert_eq!(asked, index + 1, "{protocol:?}: one answer for all pages");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_options_requests_are_requests_like_any() {
    let world = World::start(ROUTES).await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let asks = [
            ("origin", "https://app.test"),
            ("access-control-request-method", "PUT"),
        ];
        // A route without `cors` gets them itself.
        let passed = client
            .send(Method::OPTIONS, "/echo/silent", &asks, "")
            .await;
        let passed = passed.expect("an answer");
        assert_eq!(passed.json()["method"], "OPTIONS", "{protocol:?}");
        assert_eq!(passed.header("access-control-allow-origin"), None);
        // No route takes the announced method, and none takes OPTIONS.
        let unknown = [asks[0], ("access-control-request-method", "POST")];
        let refused = client
            .send(Method::OPTIONS, "/echo/private", &unknown, "")
            .await;
        refused
            .expect("an answer")
            .assert_problem(405, "method_not_allowed");
        // Neither announces a request of a page.
        for half in [&asks[..1], &asks[1..]] {
            let refused = client
                .send(Method::OPTIONS, "/echo/private", half, "")
                .await;
            refused
                .expect("an answer")
                .assert_problem(405, "method_not_allowed");
        }
    }
}
