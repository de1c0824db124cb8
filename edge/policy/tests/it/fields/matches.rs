//! Matches and address sets: each key changes the model.

use super::Section;

pub(super) const SECTION: Section = Section {
    base: r#"
version: 1
clusters: [{name: web, endpoints: ["127.0.0.1:3"]}]
issuers:
  - name: id
    issuer: id
    audiences: [a]
    jwks: {url: "https://id.example/"}
    algorithms: [EdDSA]
address_sets:
  - {name: office, addresses: [10.0.0.0/8]}
  - {name: home, addresses: [192.0.2.0/24]}
routes:
  - name: r
    matches:
      - path: /x
        headers: {x-a: a}
        client_addresses: [office]
        client_certificate: {subject: CN=a}
    auth: {issuer: id}
    cluster: web
"#,
    changes: &[
        ("Document.address_sets", "[10.0.0.0/8]", "[10.0.0.0/9]"),
        (
            "AddressSetDoc.name",
            "office, addresses: [10.0.0.0/8]}\n  - {name: home",
            "home, addresses: [10.0.0.0/8]}\n  - {name: office",
        ),
        ("AddressSetDoc.addresses", "[10.0.0.0/8]", "[10.0.0.0/9]"),
        ("MatchDoc.path", "path: /x", "path: /y"),
        (
            "MatchDoc.methods",
            "path: /x",
            "path: /x\n        methods: [GET]",
        ),
        ("MatchDoc.headers", "{x-a: a}", "{x-b: a}"),
        (
            "MatchDoc.query",
            "path: /x",
            "path: /x\n        query: {a: b}",
        ),
        ("MatchDoc.client_addresses", "[office]", "[office, home]"),
        ("MatchDoc.client_certificate", "CN=a", "CN=b"),
        (
            "MatchDoc.claims",
            "path: /x",
            "path: /x\n        claims: {a: b}",
        ),
        (
            "MatchDoc.all",
            "path: /x",
            "path: /x\n        all: [{query: {a: b}}]",
        ),
        (
            "MatchDoc.any",
            "path: /x",
            "path: /x\n        any: [{query: {a: b}}]",
        ),
        (
            "MatchDoc.not",
            "path: /x",
            "path: /x\n        not: {query: {a: b}}",
        ),
        ("PathDoc.exact", "path: /x", "path: {exact: /y}"),
        ("PathDoc.prefix", "path: /x", "path: {prefix: /x}"),
        ("PathDoc.template", "path: /x", "path: {template: '/{x}'}"),
        ("PathDoc.regex", "path: /x", "path: {regex: /x}"),
        ("ValueDoc.exact", "x-a: a", "x-a: {exact: b}"),
        ("ValueDoc.prefix", "x-a: a", "x-a: {prefix: a}"),
        ("ValueDoc.suffix", "x-a: a", "x-a: {suffix: a}"),
        ("ValueDoc.regex", "x-a: a", "x-a: {regex: a}"),
        ("ValueDoc.present", "x-a: a", "x-a: {present: true}"),
        ("CertificateDoc.subject", "subject: CN=a", "subject: CN=b"),
        ("CertificateDoc.san", "subject: CN=a", "san: a.example"),
        (
            "CertificateDoc.sha256",
            "subject: CN=a",
            "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ),
    ],
};
