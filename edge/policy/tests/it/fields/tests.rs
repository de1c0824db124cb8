//! Tests of policies: each key changes the model.

use super::Section;

const BASE: &str = r#"
version: 1
clusters:
  - {name: core, endpoints: ["127.0.0.1:1"]}
  - {name: other, endpoints: ["127.0.0.1:2"]}
limits:
  - {name: l, key: client_address, rate: 1/s}
routes:
  - {name: r, matches: [{path: /x}], cluster: core}
tests:
  - name: t
    request: {url: "https://a.example/x", certificate: {subject: CN=a}}
    expect: {upstream_path: /x, upstream_headers: {x-a: b}}
"#;

pub(super) const SECTION: Section = Section {
    base: BASE,
    changes: &[
        (
            "Document.tests",
            "tests:\n",
            "tests:\n  - {name: t2, request: {url: \"https://a.example\"}, expect: {route: r}}\n",
        ),
        ("TestDoc.name", "name: t\n", "name: t2\n"),
        ("TestDoc.request", "example/x", "example/y"),
        (
            "TestDoc.at",
            "    expect",
            "    at: 2026-01-31T12:00:00Z\n    expect",
        ),
        ("TestDoc.expect", "upstream_path: /x", "upstream_path: /y"),
        ("TestRequestDoc.method", "{url", "{method: POST, url"),
        ("TestRequestDoc.url", "a.example", "b.example"),
        ("TestRequestDoc.headers", "{url", "{headers: {x-a: a}, url"),
        ("TestRequestDoc.client", "{url", "{client: 192.0.2.1, url"),
        ("TestRequestDoc.claims", "{url", "{claims: {sub: u1}, url"),
        (
            "TestRequestDoc.certificate",
            ", certificate: {subject: CN=a}",
            "",
        ),
        ("TestCertificateDoc.subject", "CN=a", "CN=b"),
        ("TestCertificateDoc.sans", "CN=a", "CN=a, sans: [a.example]"),
        (
            "TestCertificateDoc.sha256",
            "CN=a",
            "CN=a, sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            "ExpectDoc.route",
            "{upstream_path",
            "{route: r, upstream_path",
        ),
        (
            "ExpectDoc.status",
            "{upstream_path",
            "{status: 404, upstream_path",
        ),
        (
            "ExpectDoc.code",
            "{upstream_path",
            "{code: route_not_found, upstream_path",
        ),
        (
            "ExpectDoc.location",
            "{upstream_path",
            "{location: /y, upstream_path",
        ),
        (
            "ExpectDoc.cluster",
            "{upstream_path",
            "{cluster: core, upstream_path",
        ),
        (
            "ExpectDoc.limits",
            "{upstream_path",
            "{limits: [l], upstream_path",
        ),
        (
            "ExpectDoc.cache",
            "{upstream_path",
            "{cache: false, upstream_path",
        ),
        ("ExpectDoc.upstream_path", "path: /x,", "path: /y,"),
        ("ExpectDoc.upstream_headers", "x-a: b", "x-b: b"),
        (
            "ExpectDoc.response_headers",
            "{upstream_path",
            "{response_headers: {x-a: b}, upstream_path",
        ),
        (
            "ExpectDoc.shadow",
            "{upstream_path",
            "{shadow: [rate_limited], upstream_path",
        ),
        (
            "ExpectedFieldDoc.present",
            "x-a: b",
            "x-a: {present: false}",
        ),
    ],
};
