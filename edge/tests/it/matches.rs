//! Which route takes a request: by regular expressions, values, addresses and claims, on every protocol.

use serde_json::json;

use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::tokens::{Signer, issuer_from_file};
use crate::upstream::Origin;

/// Whom a route is called after answers with its name.
fn route(name: &str, matches: &str, more: &str) -> String {
    format!(
        "  - name: {name}
    matches: [{matches}]
    response_headers: {{ set: {{ x-test-edit: {name} }} }}
    cluster: origin
{more}"
    )
}

async fn start(signer: &Signer) -> (Edge, Origin) {
    let origin = Origin::h1().await;
    let files = Files::new();
    let keys = files.root().join("keys.json");
    std::fs::write(&keys, signer.jwks()).expect("a file");
    let auth = "    auth: { issuer: main, optional: true }\n";
    let mut policy = format!(
        "version: 1
listeners: {{ trusted_proxies: [127.0.0.1] }}
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
address_sets: [{{ name: office, addresses: [192.0.2.0/24, \"2001:db8::/32\"] }}]
{}
routes:
",
        origin.address,
        issuer_from_file(&keys)
    );
    for (name, matches, more) in [
        ("all", "{ path: { prefix: /echo } }", ""),
        (
            "regex",
            "{ path: { regex: \"/(status|[a-z]+x)/2[0-9]+\" } }",
            "",
        ),
        (
            "value",
            "{ path: /echo, headers: { x-version: { regex: \"[2-9]|1[0-9]\" } } }",
            "",
        ),
        (
            "office",
            "{ path: /echo, client_addresses: [office, 198.51.100.7] }",
            "",
        ),
        ("gold", "{ path: /echo, claims: { tier: gold } }", auth),
        (
            "staff",
            "{ path: /echo, claims: { groups: staff }, not: { client_addresses: [office] } }",
            auth,
        ),
        (
            "either",
            "{ path: /echo/either, any: [{ methods: [POST] }, { query: { q: { suffix: z } } }] }",
            "",
        ),
    ] {
        policy.push_str(&route(name, matches, more));
    }
    files.write_policy("matches.yaml", &policy);
    (Edge::start_with(files, &[]).await, origin)
}

/// Path, fields, and the route.
type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], &'c str);

fn from(address: &str) -> (&str, &str) {
    ("x-forwarded-for", address)
}

fn token(bearer: &str) -> (&str, &str) {
    ("authorization", bearer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_route_of_each_request() {
    let signer = Signer::new("key");
    let (edge, _origin) = start(&signer).await;
    let gold = signer.bearer(json!({"tier": "gold"}));
    let staff = signer.bearer(json!({"groups": ["dev", "staff"]}));
    let expired = signer.bearer(json!({"tier": "gold", "exp": 1}));
    let stranger = Signer::new("stranger").bearer(json!({"tier": "gold"}));
    let cases: &[Case<'_>] = &[
        ("/echo", &[], "all"),
        ("/status/200", &[], "regex"),
        ("/echo", &[("x-version", "12")], "value"),
        ("/echo", &[("x-version", "1")], "all"),
        ("/echo", &[from("192.0.2.9")], "office"),
        ("/echo", &[from("2001:db8::1")], "office"),
        ("/echo", &[from("::ffff:198.51.100.7")], "office"),
        ("/echo", &[from("198.51.100.8")], "all"),
        ("/echo", &[token(&gold)], "gold"),
        // Equal in rank to the address, so that the name decides.
        ("/echo", &[token(&gold), from("192.0.2.9")], "gold"),
        ("/echo", &[token(&staff)], "staff"),
        ("/echo", &[token(&staff), from("192.0.2.9")], "office"),
        // What does not hold matches nothing, and the request goes on to the others.
        ("/echo", &[token(&expired)], "all"),
        ("/echo", &[token(&stranger)], "all"),
        ("/echo", &[token("Bearer x")], "all"),
        ("/echo/either?q=xyz", &[], "either"),
        ("/echo/either?q=zyx", &[], "all"),
    ];
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        for (target, headers, expected) in cases {
            let answer = client.get_with(target, headers).await;
            assert_eq!(
                (answer.status, answer.header("x-test-edit")),
                (200, Some(*expected)),
                "{protocol:?} {target} {headers:?}"
            );
        }
        client
            .get("/status/300")
            .await
            .assert_problem(404, "route_not_found");
    }
}
