//! Clusters, issuers, limits and routes, as far as no other section has them: each key changes
//! the model. What refers to a renamed one is renamed with it by the test.

/// One of each, with no optional key.
pub(super) const BASE: &str = r#"
version: 1
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
"#;

/// Key, text of `BASE`, what it is replaced by.
pub(super) const CHANGES: &[(&str, &str, &str)] = &[
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
];
