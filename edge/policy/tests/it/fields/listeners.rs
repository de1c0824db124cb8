//! What holds for all connections: each key changes the model.

use super::Section;

pub(super) const SECTION: Section = Section {
    base: r#"
version: 1
listeners:
  trusted_proxies: [10.0.0.0/8]
  connections: { }
  timeouts: { }
  rates: { }
"#,
    changes: &[
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
    ],
};
