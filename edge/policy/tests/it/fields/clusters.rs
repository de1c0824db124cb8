//! Clusters: each key changes the model.

use super::Section;

pub(super) const SECTION: Section = Section {
    base: r#"
version: 1
clusters:
  - name: core
    endpoints: ["127.0.0.1:1"]
    protocol: grpc
    descriptors: ../descriptors/core.pb
    tls: {server_name: a, ca: ../certs/ca.pem}
    timeouts: {}
    ejection: {}
  - name: web
    endpoints: ["127.0.0.1:3"]
limits:
  - name: l
    key: client_address
    rate: 10/s
routes:
  - name: r
    matches: [{path: /x}]
    auth: none
    cluster: web
"#,
    changes: &[
        ("ClusterDoc.name", "name: core", "name: core2"),
        ("ClusterDoc.endpoints", "127.0.0.1:1\"", "127.0.0.1:2\""),
        (
            "ClusterDoc.protocol",
            "protocol: grpc\n    descriptors: ../descriptors/core.pb",
            "protocol: http2",
        ),
        (
            "ClusterDoc.tls",
            "    tls: {server_name: a, ca: ../certs/ca.pem}\n",
            "",
        ),
        (
            "ClusterDoc.timeouts",
            "timeouts: {}",
            "timeouts: {read: 1s}",
        ),
        (
            "ClusterDoc.connect_retries",
            "timeouts: {}",
            "connect_retries: 3",
        ),
        ("ClusterDoc.ejection", "ejection: {}", "ejection: off"),
        (
            "ClusterDoc.descriptors",
            "    descriptors: ../descriptors/core.pb\n",
            "",
        ),
        (
            "ClusterDoc.reflection",
            "descriptors: ../descriptors/core.pb",
            "reflection: {}",
        ),
        (
            "ReflectionDoc.refresh",
            "descriptors: ../descriptors/core.pb",
            "reflection: {refresh: 1m}",
        ),
        (
            "ClusterDoc.translation",
            "timeouts: {}",
            "translation: {json_names: proto}",
        ),
        (
            "TranslationDoc.unknown_json_fields",
            "timeouts: {}",
            "translation: {unknown_json_fields: ignore}",
        ),
        (
            "TranslationDoc.default_values",
            "timeouts: {}",
            "translation: {default_values: omit}",
        ),
        (
            "TranslationDoc.json_names",
            "timeouts: {}",
            "translation: {json_names: proto}",
        ),
        (
            "TranslationDoc.json_enums",
            "timeouts: {}",
            "translation: {json_enums: numbers}",
        ),
        (
            "TranslationDoc.indented_json",
            "timeouts: {}",
            "translation: {indented_json: true}",
        ),
        (
            "TranslationDoc.event_id",
            "timeouts: {}",
            "translation: {event_id: seq}",
        ),
        (
            "TranslationDoc.event_name",
            "timeouts: {}",
            "translation: {event_name: kind}",
        ),
        (
            "TranslationDoc.event_retry",
            "timeouts: {}",
            "translation: {event_retry: 3s}",
        ),
        (
            "TranslationDoc.heartbeat",
            "timeouts: {}",
            "translation: {heartbeat: 3s}",
        ),
        (
            "TranslationDoc.validation",
            "timeouts: {}",
            "translation: {validation: false}",
        ),
        (
            "TranslationDoc.http_metadata",
            "timeouts: {}",
            "translation: {http_metadata: honour}",
        ),
        (
            "TranslationDoc.request_message_max",
            "timeouts: {}",
            "translation: {request_message_max: 2MiB}",
        ),
        (
            "TranslationDoc.response_message_max",
            "timeouts: {}",
            "translation: {response_message_max: 2MiB}",
        ),
        (
            "TranslationDoc.response_json_max",
            "timeouts: {}",
            "translation: {response_json_max: 2MiB}",
        ),
        ("TlsDoc.server_name", "server_name: a", "server_name: b"),
        ("TlsDoc.ca", "../certs/ca.pem", "../certs/edge.pem"),
        (
            "TlsDoc.certificate",
            "ca.pem}",
            "ca.pem, certificate: ../certs/edge.pem, key: ../certs/edge.key}",
        ),
        (
            "TlsDoc.key",
            "ca.pem}",
            "ca.pem, certificate: ../certs/edge.pem, key: ../certs/edge.key}",
        ),
        (
            "TimeoutsDoc.connect",
            "timeouts: {}",
            "timeouts: {connect: 1s}",
        ),
        ("TimeoutsDoc.read", "timeouts: {}", "timeouts: {read: 1s}"),
        ("TimeoutsDoc.write", "timeouts: {}", "timeouts: {write: 1s}"),
        ("TimeoutsDoc.idle", "timeouts: {}", "timeouts: {idle: 1s}"),
        (
            "EjectionDoc.consecutive_failures",
            "ejection: {}",
            "ejection: {consecutive_failures: 1}",
        ),
        (
            "EjectionDoc.duration",
            "ejection: {}",
            "ejection: {duration: 1s}",
        ),
    ],
};
