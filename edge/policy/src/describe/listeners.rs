//! Bounds on clients, in words.

use super::Definition;
use crate::compile::values::{written, written_size};
use crate::model::{ForwardedField, ListenerTimeouts, Listeners, Rates};

pub(super) fn listeners(listeners: &Listeners) -> Definition {
    let Listeners {
        trusted_proxies,
        proxy_protocol,
        client_address_from,
        connections_max,
        connections_per_address,
        handshakes_max,
        requests_max,
        timeouts,
        rates,
    } = listeners;
    let mut it = Definition::new("listeners", "", None);
    it.each("trusted_proxies", trusted_proxies);
    let required = if *proxy_protocol { "required" } else { "off" };
    it.set("proxy_protocol", required);
    it.set(
        "client_address_from",
        match client_address_from {
            ForwardedField::XForwardedFor => "x_forwarded_for",
            ForwardedField::Forwarded => "forwarded",
        },
    );
    it.set("connections.max", connections_max);
    it.set("connections.per_address", connections_per_address);
    it.set("connections.handshakes", handshakes_max);
    it.set_if("requests.max", requests_max.as_ref());
    let ListenerTimeouts {
        handshake,
        head,
        idle,
        body,
        write,
    } = timeouts;
    it.set("timeouts.handshake", written(*handshake));
    it.set("timeouts.head", written(*head));
    it.set("timeouts.idle", written(*idle));
    it.set("timeouts.body", written(*body));
    it.set("timeouts.write", written(*write));
    let Rates {
        request_body,
        response,
        grace,
    } = rates;
    let rate = |bytes: &u64| format!("{}/s", written_size(*bytes));
    it.set_if("rates.request_body", request_body.as_ref().map(rate));
    it.set_if("rates.response", response.as_ref().map(rate));
    it.set("rates.grace", written(*grace));
    it
}
