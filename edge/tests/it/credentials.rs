//! Who may use a route: API keys, one of several credentials, certificates, access rules; and the
//! same rules in shadow.

use http::Method;
use rustls::ALL_VERSIONS;
use serde_json::json;

use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::clients::ClientAuthority;
use crate::harness::files::{Files, replace};
use crate::harness::tokens::{Signer, issuer_from_file};
use crate::harness::waiting::until;
use crate::tls_hosts;
use crate::upstream::Origin;
use crate::visit::{fetch, visitor};

const ACME: &str = "5f1c4f5b7c0f4c0e9b1d0a7e6d3c2b1a";
const OTHER: &str = "0000000000000000000000000000other";

const RULES: &str = r#"
api_keys:
  - name: partners
    keys: [{ name: acme, file: ../acme.key, scopes: [orders], roles: [partner] }]
access:
  - { name: local, client_addresses: [127.0.0.0/8, "::1"] }
  - { name: elsewhere, client_addresses: [192.0.2.0/24] }
  - name: own-tenant
    expression: has(claims.tenant) && path.tenant == claims.tenant && request.method == "GET"
limits:
  - { name: one, key: caller, rate: 1/h }
  - { name: watched, mode: shadow, key: caller, rate: 1/h }
routes:
  - name: keys
    matches: [{ path: /echo/keys }]
    auth: { api_keys: partners, scopes: [orders], roles: [partner], claim_headers: { sub: x-caller } }
    cluster: origin
  - name: any
    matches: [{ path: /echo/any }]
    auth: { any_of: [{ issuer: main }, { api_keys: partners }], claim_headers: { sub: x-caller } }
    cluster: origin
  - name: maybe
    matches: [{ path: /echo/maybe }]
    auth: { api_keys: partners, optional: true, claim_headers: { sub: x-caller } }
    cluster: origin
  - name: kept
    matches: [{ path: { prefix: /fresh } }]
    auth: { api_keys: partners }
    cache: {}
    cluster: origin
  - { name: local, matches: [{ path: /echo/local }], access: [local], cluster: origin }
  - { name: elsewhere, matches: [{ path: /echo/elsewhere }], access: [local, elsewhere], cluster: origin }
  - name: tenants
    matches: [{ path: { template: "/echo/t/{tenant}" } }]
    auth: { issuer: main }
    access: [own-tenant]
    cluster: origin
  - name: limited
    matches: [{ path: /echo/limited }]
    auth: { api_keys: partners }
    limits: [one]
    cluster: origin
  - name: shadow
    mode: shadow
    matches: [{ path: /echo/shadow }]
    auth: { issuer: main, scopes: [admin], claim_headers: { sub: x-caller } }
    access: [elsewhere]
    limits: [one]
    cluster: origin
  - name: watched
    matches: [{ path: /echo/watched }]
    limits: [watched]
    cluster: origin
"#;

struct World {
    edge: Edge,
    origin: Origin,
    signer: Signer,
}

impl World {
    async fn start() -> Self {
        let (origin, signer) = (Origin::h1().await, Signer::new("key-1"));
        let files = Files::new();
        let jwks = files.root().join("jwks.json");
        replace(&jwks, signer.jwks().as_bytes());
        replace(
            &files.root().join("acme.key"),
            format!("{ACME}\n").as_bytes(),
        );
        let policy = format!(
            "version: 1\nclusters: [{{ name: origin, endpoints: [\"{}\"] }}]\n{}{RULES}",
            origin.address,
            issuer_from_file(&jwks)
        );
        files.write_policy("policy.yaml", &policy);
        Self {
            edge: Edge::start_with(files, &[]).await,
            origin,
            signer,
        }
    }

    async fn client(&self, protocol: Protocol) -> Client {
        Client::connect(protocol, &self.edge).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_keys_are_looked_up_and_go_no_further() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let missing = client.get("/echo/keys").await;
        missing.assert_problem(401, "api_key_missing");
        assert_eq!(
            missing.header("www-authenticate"),
            Some("ApiKey header=\"x-api-key\"")
        );
        let unknown = client.get_with("/echo/keys", &[("x-api-key", OTHER)]).await;
        unknown.assert_problem(401, "api_key_unknown");
        // Two of them are nobody's.
        let both = [("x-api-key", ACME), ("x-api-key", OTHER)];
        let both = client.get_with("/echo/keys", &both).await;
        both.assert_problem(401, "api_key_unknown");
        let known = [("x-api-key", ACME), ("x-caller", "forged")];
        assert_eq!(client.get_with("/echo/keys", &known).await.status, 200);
        let seen = world.origin.last("/echo/keys");
        assert_eq!(seen.header("x-caller"), Some("acme"));
        assert_eq!(seen.header("x-api-key"), None, "{protocol:?}");
        // Where nobody asks for it, it is the upstream's.
        assert_eq!(client.get_with("/echo/local", &known).await.status, 200);
        let seen = world.origin.last("/echo/local");
        assert_eq!(seen.header("x-api-key"), Some(ACME));
    }
    let line = world
        .edge
        .log_line("the caller", |line| {
            line["route"] == "keys" && line["status"] == 200
        })
        .await;
    assert_eq!(line["subject"], "acme");
    let all = world.edge.log_lines(|_| true);
    assert!(all.iter().all(|line| !line.to_string().contains(ACME)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_to_a_key_are_nobody_elses() {
    let world = World::start().await;
    let mut client = world.client(Protocol::H2).await;
    for number in 1..=2 {
        let answer = client.get_with("/fresh/keys", &[("x-api-key", ACME)]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(world.origin.record().count("/fresh/keys"), number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_that_changes_is_read_again() {
    let world = World::start().await;
    let mut client = world.client(Protocol::H2).await;
    let (old, new) = ([("x-api-key", ACME)], [("x-api-key", OTHER)]);
    assert_eq!(client.get_with("/echo/keys", &old).await.status, 200);
    replace(&world.edge.files.root().join("acme.key"), OTHER.as_bytes());
    until("the new key to be taken", || async {
        let mut client = world.client(Protocol::H1).await;
        (client.get_with("/echo/keys", &new).await.status == 200).then_some(())
    })
    .await;
    let gone = client.get_with("/echo/keys", &old).await;
    gone.assert_problem(401, "api_key_unknown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_credentials_is_enough() {
    let world = World::start().await;
    let token = world.signer.bearer(json!({}));
    let expired = world.signer.bearer(json!({ "exp": 1 }));
    let (token, expired) = (("authorization", &*token), ("authorization", &*expired));
    let (key, unknown) = (("x-api-key", ACME), ("x-api-key", OTHER));
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let nothing = client.get("/echo/any").await;
        nothing.assert_problem(401, "credential_missing");
        assert_eq!(
            nothing.header("www-authenticate"),
            Some("Bearer, ApiKey header=\"x-api-key\"")
        );
        for (shown, caller) in [
            (&[token][..], "u1"),
            (&[key], "acme"),
            (&[token, unknown], "u1"),
            (&[expired, key], "acme"),
            // The first of the list that holds is the caller.
            (&[key, token], "u1"),
        ] {
            assert_eq!(client.get_with("/echo/any", shown).await.status, 200);
            let seen = world.origin.last("/echo/any");
            assert_eq!(seen.header("x-caller"), Some(caller), "{shown:?}");
            assert_eq!(seen.header("x-api-key"), None);
            assert_eq!(seen.header("authorization"), None);
        }
        for (shown, code) in [
            (&[expired][..], "token_expired"),
            (&[unknown], "api_key_unknown"),
            (&[expired, unknown], "token_expired"),
        ] {
            let refused = client.get_with("/echo/any", shown).await;
            refused.assert_problem(401, code);
        }
        // Nobody is somebody here, and somebody else is not nobody.
        assert_eq!(client.get("/echo/maybe").await.status, 200);
        assert_eq!(world.origin.last("/echo/maybe").header("x-caller"), None);
        let refused = client.get_with("/echo/maybe", &[unknown]).await;
        refused.assert_problem(401, "api_key_unknown");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_rules_judge_clients_and_expressions() {
    let world = World::start().await;
    let acme = world.signer.bearer(json!({ "tenant": "acme" }));
    let nobody = world.signer.bearer(json!({}));
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        assert_eq!(client.get("/echo/local").await.status, 200);
        let refused = client.get("/echo/elsewhere").await;
        refused.assert_problem(403, "access_denied");
        assert!(!String::from_utf8_lossy(&refused.body).contains("elsewhere"));
        let acme = [("authorization", &*acme)];
        assert_eq!(client.get_with("/echo/t/acme", &acme).await.status, 200);
        for (method, path) in [
            (Method::GET, "/echo/t/other"),
            (Method::DELETE, "/echo/t/acme"),
        ] {
            let refused = client.send(method, path, &acme, "").await;
            refused
                .expect("an answer")
                .assert_problem(403, "access_denied");
        }
        let nobody = [("authorization", &*nobody)];
        let refused = client.get_with("/echo/t/acme", &nobody).await;
        refused.assert_problem(403, "access_denied");
    }
    for (route, detail) in [
        ("elsewhere", "access rule elsewhere: another client address"),
        ("tenants", "access rule own-tenant: the expression is false"),
    ] {
        let line = world.edge.log_line("why", |line| {
            line["route"] == route && line["status"] == 403
        });
        assert_eq!(line.await["detail"], detail);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_counted_by_caller() {
    let world = World::start().await;
    let mut client = world.client(Protocol::H2).await;
    let key = [("x-api-key", ACME)];
    assert_eq!(client.get_with("/echo/limited", &key).await.status, 200);
    let refused = client.get_with("/echo/limited", &key).await;
    refused.assert_problem(429, "rate_limited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shadow_counts_and_refuses_nobody() {
    let world = World::start().await;
    let expired = world.signer.bearer(json!({ "exp": 1, "scope": "admin" }));
    let weak = world.signer.bearer(json!({ "scope": "other" }));
    let (expired, weak) = (
        [("authorization", &*expired), ("x-caller", "forged")],
        [("authorization", &*weak)],
    );
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for shown in [&[][..], &expired] {
            let answer = client.get_with("/echo/shadow", shown).await;
            assert_eq!(answer.status, 200, "{protocol:?}");
            assert_eq!(answer.header("ratelimit"), None);
            assert_eq!(answer.header("ratelimit-policy"), None);
            let seen = world.origin.last("/echo/shadow");
            assert_eq!(seen.header("x-caller"), None, "nothing is believed");
            assert_eq!(seen.header("authorization"), None);
        }
        assert_eq!(client.get_with("/echo/shadow", &weak).await.status, 200);
        let seen = world.origin.last("/echo/shadow");
        assert_eq!(seen.header("x-caller"), Some("u1"));
        assert_eq!(client.get("/echo/watched").await.status, 200);
    }
    let metric = async |route: &str, reason: &str| {
        let series =
            format!("palisade_shadow_refusals_total{{http_route=\"{route}\",reason=\"{reason}\"}}");
        world.edge.metric(&series).await
    };
    for (route, reason, count) in [
        ("shadow", "token_missing", 3.0),
        ("shadow", "token_expired", 3.0),
        ("shadow", "insufficient_scope", 3.0),
        ("shadow", "access_denied", 9.0),
        // Six by address, three by subject, of which one each may pass.
        ("shadow", "rate_limited", 7.0),
        ("watched", "rate_limited", 2.0),
    ] {
        until("the refusals to be counted", || async {
            (metric(route, reason).await == Some(count)).then_some(())
        })
        .await;
    }
    let line = world.edge.log_line("an expired token", |line| {
        line["shadow"]
            .as_str()
            .is_some_and(|shadow| shadow.contains("token_expired"))
    });
    let line = line.await;
    assert_eq!(line["status"], 200);
    assert_eq!(line["reason"], serde_json::Value::Null);
    assert_eq!(line["subject"], serde_json::Value::Null);
    let shadow = line["shadow"].as_str().expect("text");
    assert!(shadow.contains("access rule elsewhere"), "{shadow}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_say_who_calls() {
    let (origin, authority) = (Origin::h1().await, ClientAuthority::new("partners"));
    let hosts = "  - { name: guests, hosts: [guests.test], tls: { client_certificates: { mode: optional, ca: ../clients.pem } } }\n";
    let files = tls_hosts::prepare(&origin, hosts);
    replace(
        &files.root().join("clients.pem"),
        authority.pem().as_bytes(),
    );
    let minute = std::time::Duration::from_secs(60 * 60);
    let billing = authority.issue_named(1, minute, &["billing.partners.test"]);
    let other = authority.issue_named(2, minute, &["other.partners.test"]);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &billing.certificate);
    let digest: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    files.write_policy(
        "certificates.yaml",
        &format!(
            "version: 1
access:
  - {{ name: billing, client_certificate: {{ san: billing.partners.test, sha256: {digest} }} }}
routes:
  - name: certificate
    hosts: [guests.test]
    matches: [{{ path: /echo/certificate }}]
    auth: {{ client_certificate: {{ san: {{ suffix: .partners.test }} }}, claim_headers: {{ sub: x-caller }} }}
    cluster: origin
  - name: rule
    hosts: [guests.test]
    matches: [{{ path: /echo/rule }}]
    access: [billing]
    cluster: origin
"
        ),
    );
    let edge = Edge::start_with(files, &[]).await;
    let names = ("guests.test", "guests.test");
    let ask = async |identity: Option<_>, path: &str| {
        let client = visitor(identity, ALL_VERSIONS);
        let seen = fetch(edge.https, &client, names, path).await;
        seen.expect("an answer")
    };
    for (identity, certificate, rule) in [
        (Some(&billing), 200, 200),
        (Some(&other), 200, 403),
        (None, 401, 403),
    ] {
        assert_eq!(ask(identity, "/echo/certificate").await.status, certificate);
        assert_eq!(ask(identity, "/echo/rule").await.status, rule);
    }
    let nobody = ask(None, "/echo/certificate").await;
    assert_eq!(
        nobody.header("www-authenticate"),
        Some("ClientCertificate"),
        "{}",
        nobody.text
    );
    let line = edge.log_line("a caller by certificate", |line| {
        line["route"] == "certificate" && line["subject"] == "CN=client 1"
    });
    let _ = line.await;
    let told = origin.last("/echo/certificate");
    assert_eq!(told.header("x-caller"), Some("CN=client 2"));
}
