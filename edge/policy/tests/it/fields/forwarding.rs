//! Where requests go, and what happens on the way: each key changes the model.

use super::Section;

const BASE: &str = r#"
version: 1
listeners:
  connections: { }
clusters:
  - { name: one, endpoints: ["127.0.0.1:1"] }
  - { name: two, endpoints: ["127.0.0.1:2"] }
  - { name: three, endpoints: ["127.0.0.1:3"] }
routes:
  - name: single
    matches: [{ path: /single }]
    cluster: one
  - name: several
    matches: [{ path: /several }]
    backends: [{ cluster: one }, { cluster: two }]
    retries: {}
    mirror: { cluster: three }
"#;

const BACKENDS: &str = "backends: [{ cluster: one }, { cluster: two }]";
const SINGLE: &str = "    cluster: one\n";

pub(super) const SECTION: Section = Section {
    base: BASE,
    changes: &[
        (
            "ListenersDoc.requests",
            "connections: { }",
            "requests: { max: 100 }",
        ),
        (
            "RequestsDoc.max",
            "connections: { }",
            "requests: { max: 100 }",
        ),
        ("RouteDoc.backends", BACKENDS, "cluster: one"),
        (
            "BackendDoc.cluster",
            BACKENDS,
            "backends: [{ cluster: one }]",
        ),
        (
            "BackendDoc.weight",
            "{ cluster: two }",
            "{ cluster: two, weight: 9 }",
        ),
        (
            "RouteDoc.retries",
            SINGLE,
            "    cluster: one\n    retries: {}\n",
        ),
        (
            "RetriesDoc.attempts",
            "retries: {}",
            "retries: { attempts: 2 }",
        ),
        ("RetriesDoc.on", "retries: {}", "retries: { on: [504] }"),
        (
            "RetriesDoc.methods",
            "retries: {}",
            "retries: { methods: [POST] }",
        ),
        (
            "RetriesDoc.per_try_timeout",
            "retries: {}",
            "retries: { per_try_timeout: 1s }",
        ),
        (
            "RetriesDoc.backoff",
            "retries: {}",
            "retries: { backoff: 1s }",
        ),
        (
            "RetriesDoc.budget_percent",
            "retries: {}",
            "retries: { budget_percent: 100 }",
        ),
        (
            "RouteDoc.mirror",
            SINGLE,
            "    cluster: one\n    mirror: { cluster: three }\n",
        ),
        (
            "MirrorDoc.cluster",
            "backends: [{ cluster: one }, { cluster: two }]\n    retries: {}\n    mirror: { cluster: three }",
            "backends: [{ cluster: one }, { cluster: three }]\n    retries: {}\n    mirror: { cluster: two }",
        ),
        (
            "MirrorDoc.percent",
            "mirror: { cluster: three }",
            "mirror: { cluster: three, percent: 1 }",
        ),
        (
            "MirrorDoc.body_max",
            "mirror: { cluster: three }",
            "mirror: { cluster: three, body_max: 1KiB }",
        ),
        (
            "RouteDoc.priority",
            SINGLE,
            "    cluster: one\n    priority: low\n",
        ),
        (
            "RouteDoc.response_body_max",
            SINGLE,
            "    cluster: one\n    response_body_max: 1KiB\n",
        ),
    ],
};
