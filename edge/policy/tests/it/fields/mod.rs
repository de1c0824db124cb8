//! Every key of the language has an effect: set to something else, the model is another.
//!
//! The list is held against the source of the document types, so that a key cannot be added
//! without saying here what it does (keys that were read and ignored are how limits fail open).

mod actions;
mod auth;
mod clusters;
mod forwarding;
mod inherited;
mod matches;
mod tests;

use std::collections::BTreeSet;

use palisade_policy::describe::{Definition, describe};
use palisade_policy::diff::changes;

use crate::folder::Scratch;

/// A part of the language with a policy of its own to change.
struct Section {
    base: &'static str,
    /// Key, text of `base`, what its first occurrence is replaced by.
    changes: &'static [(&'static str, &'static str, &'static str)],
}

const SECTIONS: [&Section; 7] = [
    &actions::SECTION,
    &auth::SECTION,
    &clusters::SECTION,
    &forwarding::SECTION,
    &inherited::SECTION,
    &matches::SECTION,
    &tests::SECTION,
];

/// One of everything, with no optional key.
const BASE: &str = r#"
version: 1
listeners:
  trusted_proxies: [10.0.0.0/8]
  connections: { }
  timeouts: { }
  rates: { }
clusters:
  - name: core
    endpoints: ["127.0.0.1:1"]
    protocol: grpc
    descriptors: ../descriptors/core.pb
  - name: web
    endpoints: ["127.0.0.1:3"]
issuers:
  - name: id
    issuer: id
    audiences: [a]
    jwks: {url: "https://id.example/"}
    algorithms: [EdDSA]
limits:
  - name: l
    key: {header: x-a}
    rate: 10/s
routes:
  - name: r
    hosts: [a.example]
    matches: [{path: /x, headers: {x-a: a}}]
    auth: {issuer: id}
    cache: {}
    request_headers: {}
    cluster: core
  - name: w
    matches: [{path: /w}]
    auth: {issuer: id}
    websocket: {}
    cluster: web
hosts:
  - name: h
    hosts: [b.example]
    tls: {client_certificates: {mode: required, ca: ../certs/ca.pem}}
    hsts: {}
"#;

/// Key, text of `BASE`, what it is replaced by.
const CHANGES: &[(&str, &str, &str)] = &[
    (
        "Document.listeners",
        "  connections: { }",
        "  connections: { max: 1 }",
    ),
    (
        "ListenersDoc.trusted_proxies",
        "[10.0.0.0/8]",
        "[10.0.0.0/9]",
    ),
    (
        "ListenersDoc.proxy_protocol",
        "  connections: { }",
        "  proxy_protocol: required",
    ),
    (
        "ListenersDoc.client_address_from",
        "  connections: { }",
        "  client_address_from: forwarded",
    ),
    (
        "ListenersDoc.connections",
        "  connections: { }",
        "  connections: { max: 1 }",
    ),
    (
        "ListenersDoc.timeouts",
        "  timeouts: { }",
        "  timeouts: { head: 1s }",
    ),
    (
        "ListenersDoc.rates",
        "  rates: { }",
        "  rates: { grace: 1s }",
    ),
    (
        "ConnectionsDoc.max",
        "  connections: { }",
        "  connections: { max: 1 }",
    ),
    (
        "ConnectionsDoc.per_address",
        "  connections: { }",
        "  connections: { per_address: 1 }",
    ),
    (
        "ConnectionsDoc.handshakes",
        "  connections: { }",
        "  connections: { handshakes: 1 }",
    ),
    (
        "ListenerTimeoutsDoc.handshake",
        "  timeouts: { }",
        "  timeouts: { handshake: 1s }",
    ),
    (
        "ListenerTimeoutsDoc.head",
        "  timeouts: { }",
        "  timeouts: { head: 1s }",
    ),
    (
        "ListenerTimeoutsDoc.idle",
        "  timeouts: { }",
        "  timeouts: { idle: 1s }",
    ),
    (
        "ListenerTimeoutsDoc.body",
        "  timeouts: { }",
        "  timeouts: { body: 1s }",
    ),
    (
        "ListenerTimeoutsDoc.write",
        "  timeouts: { }",
        "  timeouts: { write: 1s }",
    ),
    (
        "RatesDoc.request_body",
        "  rates: { }",
        "  rates: { request_body: off }",
    ),
    (
        "RatesDoc.response",
        "  rates: { }",
        "  rates: { response: 1KiB }",
    ),
    ("RatesDoc.grace", "  rates: { }", "  rates: { grace: 1s }"),
    (
        "Document.clusters",
        "[\"127.0.0.1:3\"]\n",
        "[\"127.0.0.1:3\"]\n  - {name: other, endpoints: [\"127.0.0.1:2\"]}\n",
    ),
    (
        "Document.issuers",
        "issuers:\n",
        "issuers:\n  - {name: other, issuer: o, audiences: [a], jwks: {file: a}, algorithms: [EdDSA]}\n",
    ),
    (
        "Document.limits",
        "limits:\n",
        "limits:\n  - {name: other, key: caller, rate: 1/s}\n",
    ),
    (
        "Document.routes",
        "routes:\n",
        "routes:\n  - {name: other, matches: [{path: /y}], cluster: core}\n",
    ),
    ("IssuerDoc.name", "  - name: id", "  - name: id2"),
    ("IssuerDoc.issuer", "issuer: id\n", "issuer: id2\n"),
    ("IssuerDoc.audiences", "audiences: [a]", "audiences: [b]"),
    (
        "IssuerDoc.jwks",
        "https://id.example/",
        "https://id2.example/",
    ),
    ("IssuerDoc.algorithms", "[EdDSA]", "[ES256]"),
    ("IssuerDoc.leeway", "[EdDSA]", "[EdDSA]\n    leeway: 1s"),
    (
        "IssuerDoc.require_nbf",
        "[EdDSA]",
        "[EdDSA]\n    require_nbf: true",
    ),
    (
        "IssuerDoc.token_types",
        "[EdDSA]",
        "[EdDSA]\n    token_types: [at+jwt]",
    ),
    (
        "IssuerDoc.revocations",
        "[EdDSA]",
        "[EdDSA]\n    revocations: {cluster: core}",
    ),
    ("JwksDoc.url", "https://id.example/", "https://id2.example/"),
    (
        "JwksDoc.file",
        "url: \"https://id.example/\"",
        "file: a.json",
    ),
    (
        "JwksDoc.ca",
        "example/\"",
        "example/\", ca: ../certs/ca.pem",
    ),
    ("JwksDoc.refresh", "example/\"", "example/\", refresh: 1h"),
    ("JwksDoc.cooldown", "example/\"", "example/\", cooldown: 1h"),
    ("LimitDoc.name", "name: l\n", "name: l2\n"),
    ("LimitDoc.key", "key: {header: x-a}", "key: caller"),
    ("LimitDoc.rate", "10/s", "10/m"),
    ("LimitDoc.burst", "10/s", "10/s\n    burst: 1"),
    ("LimitDoc.keys_max", "10/s", "10/s\n    keys_max: 1"),
    ("LimitKeyDoc.header", "header: x-a", "header: x-b"),
    ("LimitKeyDoc.claim", "header: x-a", "claim: tenant"),
    ("RouteDoc.name", "name: r\n", "name: r2\n"),
    ("RouteDoc.hosts", "[a.example]", "[b.example]"),
    ("RouteDoc.matches", "path: /x", "path: /y"),
    (
        "RouteDoc.plain_http",
        "cluster: core",
        "cluster: core\n    plain_http: true",
    ),
    (
        "RouteDoc.on_reload",
        "cluster: core",
        "cluster: core\n    on_reload: cut",
    ),
    ("RouteDoc.auth", "    auth: {issuer: id}\n", ""),
    (
        "RouteDoc.limits",
        "cluster: core",
        "cluster: core\n    limits: [l]",
    ),
    ("RouteDoc.cache", "    cache: {}\n", ""),
    (
        "RouteDoc.request_headers",
        "request_headers: {}",
        "request_headers: {remove: [x-b]}",
    ),
    (
        "RouteDoc.response_headers",
        "request_headers: {}",
        "response_headers: {remove: [x-b]}",
    ),
    (
        "RouteDoc.request_timeout",
        "cluster: core",
        "cluster: core\n    request_timeout: 1s",
    ),
    (
        "RouteDoc.request_body_max",
        "cluster: core",
        "cluster: core\n    request_body_max: 1KiB",
    ),
    (
        "RouteDoc.cluster",
        "clusters:\n",
        "clusters:\n  - {name: other, endpoints: [\"127.0.0.1:2\"]}\n",
    ),
    (
        "RouteDoc.translate",
        "cluster: core",
        "cluster: core\n    translate: true",
    ),
    ("RouteDoc.websocket", "    websocket: {}\n", ""),
    (
        "WebSocketDoc.origins",
        "websocket: {}",
        "websocket: {origins: [\"https://a.example\"]}",
    ),
    (
        "WebSocketDoc.idle_timeout",
        "websocket: {}",
        "websocket: {idle_timeout: 1m}",
    ),
    (
        "WebSocketDoc.lifetime",
        "websocket: {}",
        "websocket: {lifetime: 1m}",
    ),
    (
        "WebSocketDoc.end_with_token",
        "websocket: {}",
        "websocket: {end_with_token: false}",
    ),
    (
        "AuthDoc.issuer",
        "    jwks: {url",
        "    leeway: 1s\n    jwks: {url",
    ),
    (
        "AuthDoc.optional",
        "auth: {issuer: id",
        "auth: {issuer: id, optional: true",
    ),
    (
        "AuthDoc.scopes",
        "auth: {issuer: id",
        "auth: {issuer: id, scopes: [s]",
    ),
    (
        "AuthDoc.roles",
        "auth: {issuer: id",
        "auth: {issuer: id, roles: [r]",
    ),
    (
        "AuthDoc.claim_headers",
        "auth: {issuer: id",
        "auth: {issuer: id, claim_headers: {sub: x-sub}",
    ),
    (
        "AuthDoc.forward_token",
        "auth: {issuer: id",
        "auth: {issuer: id, forward_token: true",
    ),
    (
        "CacheDoc.default_ttl",
        "cache: {}",
        "cache: {default_ttl: 1s}",
    ),
    (
        "HeaderEditsDoc.remove",
        "request_headers: {}",
        "request_headers: {remove: [x-b]}",
    ),
    (
        "HeaderEditsDoc.set",
        "request_headers: {}",
        "request_headers: {set: {x-b: a}}",
    ),
    (
        "HeaderEditsDoc.add",
        "request_headers: {}",
        "request_headers: {add: {x-b: a}}",
    ),
    (
        "Document.hosts",
        "    hsts: {}\n",
        "    hsts: {}\n  - {name: other, hosts: [c.example]}\n",
    ),
    ("HostDoc.name", "name: h\n", "name: h2\n"),
    ("HostDoc.hosts", "[b.example]", "[c.example]"),
    (
        "HostDoc.tls",
        "    tls: {client_certificates: {mode: required, ca: ../certs/ca.pem}}\n",
        "",
    ),
    ("HostDoc.hsts", "    hsts: {}\n", ""),
    (
        "HostDoc.alt_svc",
        "    tls: {client_certificates: {mode: required, ca: ../certs/ca.pem}}\n",
        "    alt_svc: false\n",
    ),
    (
        "HostDoc.security_headers",
        "hsts: {}",
        "security_headers: false",
    ),
    (
        "HostTlsDoc.min_version",
        "tls: {client",
        "tls: {min_version: 1.3, client",
    ),
    (
        "HostTlsDoc.alpn",
        "tls: {client",
        "tls: {alpn: [http/1.1], client",
    ),
    (
        "HostTlsDoc.client_certificates",
        "{mode: required, ca: ../certs/ca.pem}",
        "off",
    ),
    (
        "ClientCertificatesDoc.mode",
        "mode: required",
        "mode: optional",
    ),
    (
        "ClientCertificatesDoc.ca",
        "required, ca: ../certs/ca.pem",
        "required, ca: ../certs/edge.pem",
    ),
    (
        "ClientCertificatesDoc.crl",
        "mode: required",
        "mode: required, crl: ../certs/ca.crl",
    ),
    (
        "ClientCertificatesDoc.forward",
        "mode: required",
        "mode: required, forward: true",
    ),
    ("HstsDoc.max_age", "hsts: {}", "hsts: {max_age: 1d}"),
    (
        "HstsDoc.include_subdomains",
        "hsts: {}",
        "hsts: {include_subdomains: true}",
    ),
    (
        "HstsDoc.preload",
        "hsts: {}",
        "hsts: {include_subdomains: true, preload: true}",
    ),
];

/// Keys without an effect on the model.
const NO_EFFECT: &[&str] = &["Document.version"];

/// Keys whose effect nobody is told.
const NOT_DESCRIBED: &[&str] = &[];

/// The policy as `palisade diff` compares it.
fn described(text: &str) -> Vec<Definition> {
    let scratch = Scratch::with(&[("policy.yaml", text)]);
    let loaded = scratch.load();
    let loaded = loaded.unwrap_or_else(|diagnostics| panic!("{diagnostics}\n{text}"));
    describe(&loaded.policy, &scratch.policies())
}

#[track_caller]
fn assert_described(key: &str, before: &[Definition], after: &str) {
    let is_seen = !changes(before, &described(after)).is_empty();
    let is_known = NOT_DESCRIBED.contains(&key);
    assert!(is_seen != is_known, "{key}: a diff sees it {is_seen}");
}

/// Everything of the model, positions aside; what is secret is in it as a fingerprint.
fn model(text: &str) -> String {
    let loaded = Scratch::with(&[("policy.yaml", text)]).load();
    let policy = loaded
        .unwrap_or_else(|diagnostics| panic!("{diagnostics}\n{text}"))
        .policy;
    let debug = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        policy.listeners,
        policy.api_keys,
        policy.clusters,
        policy.issuers,
        (policy.limits, policy.access),
        policy.routes.rules(),
        policy.hosts.hosts(),
        policy.tests
    );
    // Lines move, and a table of bindings is a hash map; what can be set about it is in its options.
    let debug = without(&debug, "Origin {", "}");
    let debug = without(&debug, "translator: Some(Translator {", "options:");
    // Scratch folders have random names.
    let parts = debug.split('/').filter(|part| !part.starts_with(".tmp"));
    parts.collect::<Vec<_>>().join("/")
}

fn without(text: &str, from: &str, to: &str) -> String {
    let mut pieces = text.split(from);
    let mut left = pieces.next().unwrap().to_owned();
    for piece in pieces {
        left.push_str(from);
        left.push_str(piece.split_once(to).unwrap().1);
    }
    left
}

#[test]
fn every_key_has_an_effect() {
    let base = model(BASE);
    assert!(base == model(BASE), "the model differs without a change");
    let description = described(BASE);
    assert_eq!(changes(&description, &described(BASE)), []);
    for (key, before, after) in CHANGES {
        let changed = match *key {
            // What these refer to changes with them.
            "IssuerDoc.name" => BASE
                .replace("name: id\n", "name: id2\n")
                .replace("{issuer: id}", "{issuer: id2}"),
            "RouteDoc.cluster" => BASE
                .replacen(before, after, 1)
                .replace("cluster: core", "cluster: other"),
            "AuthDoc.issuer" => {
                let other = "  - {name: other, issuer: o, audiences: [a], jwks: {file: a}, algorithms: [EdDSA]}\n";
                let two = BASE.replace("issuers:\n", &format!("issuers:\n{other}"));
                let other = two.replace("{issuer: id}", "{issuer: other}");
                assert!(model(&two) != model(&other), "{key}");
                assert_described(key, &described(&two), &other);
                continue;
            }
            _ => BASE.replacen(before, after, 1),
        };
        assert_ne!(changed, BASE, "{key} changes nothing in the text");
        assert!(model(&changed) != base, "{key} has no effect");
        assert_described(key, &description, &changed);
    }
}

#[test]
fn every_key_of_a_section_has_an_effect() {
    for Section { base, changes } in SECTIONS {
        if changes.is_empty() {
            continue;
        }
        let (before, description) = (model(base), described(base));
        for (key, from, to) in *changes {
            let changed = base.replacen(from, to, 1);
            assert_ne!(&changed, base, "{key} changes nothing in the text");
            assert!(model(&changed) != before, "{key} has no effect");
            // Tests decide nothing about requests: a difference in them is none of the policy's.
            if !std::ptr::eq(*base, tests::SECTION.base) {
                assert_described(key, &description, &changed);
            }
        }
    }
}

/// Every key of the language as `Type.key`, in the order of the source.
pub(crate) fn keys() -> Vec<String> {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = std::fs::read_dir(manifest.join("src/document")).unwrap();
    let documents = documents.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let source: String = documents.collect();
    let mut keys = Vec::new();
    let mut owner = "";
    for line in source.lines() {
        if let Some(rest) = line.strip_prefix("pub(crate) struct ") {
            owner = rest.trim_end_matches(" {");
        } else if line.starts_with("    own {") || line.starts_with("    inherited {") {
            owner = "RouteDoc";
        } else if let Some((key, _)) = line
            .strip_prefix("        ")
            .filter(|_| owner == "RouteDoc")
            .filter(|rest| {
                rest.starts_with(|c: char| c.is_ascii_lowercase()) && rest.ends_with(',')
            })
            .and_then(|rest| rest.split_once(": "))
        {
            keys.push(format!("{owner}.{key}"));
        } else if let Some((key, _)) = line
            .strip_prefix("    pub(crate) ")
            .and_then(|rest| rest.split_once(": "))
        {
            keys.push(format!("{owner}.{key}"));
        }
    }
    keys
}

#[test]
fn every_key_is_listed() {
    let keys: BTreeSet<String> = keys().into_iter().collect();
    let listed = CHANGES
        .iter()
        .map(|(key, ..)| *key)
        .chain(
            SECTIONS
                .iter()
                .flat_map(|section| section.changes.iter().map(|(key, ..)| *key)),
        )
        .chain(NO_EFFECT.iter().copied());
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    assert_eq!(keys, listed);
}

#[test]
fn fingerprints_change_with_what_they_stand_for() {
    let prints = |text: &str| {
        let loaded = Scratch::with(&[("policy.yaml", text)]).load();
        let policy = loaded
            .unwrap_or_else(|diagnostics| panic!("{diagnostics}\n{text}"))
            .policy;
        (policy.clusters[0].fingerprint, policy.limits[0].fingerprint)
    };
    assert_eq!(
        prints(BASE),
        prints(&format!("# moved\n\n{BASE}")),
        "moving a definition restarts it"
    );
    let clusters = clusters::SECTION;
    for (base, changes) in [(BASE, CHANGES), (clusters.base, clusters.changes)] {
        let before = prints(base);
        for (key, from, to) in changes {
            let (owner, _) = key.split_once('.').unwrap();
            let expected = match owner {
                "ClusterDoc" | "TlsDoc" | "TimeoutsDoc" | "EjectionDoc" => (true, false),
                "LimitDoc" | "LimitKeyDoc" => (false, true),
                _ => continue,
            };
            let now = prints(&base.replacen(from, to, 1));
            assert_eq!((now.0 != before.0, now.1 != before.1), expected, "{key}");
        }
    }
}
