//! Defaults of all and of hosts: each key changes the model.

use super::Section;

pub(super) const SECTION: Section = Section {
    base: r#"
version: 1
environment: [{name: PALISADE_TEST_A, default: a}, {name: PALISADE_TEST_B, default: b}]
defaults: {}
hosts:
  - name: h
    hosts: [b.example]
    defaults: {}
clusters: [{name: c, endpoints: ["127.0.0.1:1"]}]
routes:
  - name: r
    matches: [{path: /x}]
    request_headers: {set: {x-a: "${PALISADE_TEST_A}${PALISADE_TEST_B}"}, add: {x-b: b}}
    cluster: c
"#,
    changes: &[
        (
            "Document.defaults",
            "\ndefaults: {}",
            "\ndefaults: {plain_http: true}",
        ),
        (
            "HostDoc.defaults",
            "    defaults: {}",
            "    defaults: {plain_http: true}",
        ),
        ("Document.environment", "default: a", "default: b"),
        (
            "EnvironmentDoc.name",
            "PALISADE_TEST_A, default: a}, {name: PALISADE_TEST_B",
            "PALISADE_TEST_B, default: a}, {name: PALISADE_TEST_A",
        ),
        ("EnvironmentDoc.default", "default: a", "default: b"),
        (
            "HeaderValueDoc.file",
            "x-b: b",
            "x-b: {file: ../secrets/upstream.token}",
        ),
    ],
};
