//! Bounds of the listeners: a map that appears once over all files.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Compiler, addresses, values};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{
    ConnectionsDoc, Document, ForwardedDoc, ListenerTimeoutsDoc, ListenersDoc, ProxyProtocolDoc,
    RatesDoc, RequestsDoc,
};
use crate::field::{At, Field};
use crate::model::{ForwardedField, ListenerTimeouts, Listeners, Rates};

/// Looked through for each connection and each request of a trusted proxy.
const TRUSTED_PROXIES_MAX: usize = 256;
const CONNECTIONS_BOUNDS: RangeInclusive<u64> = 1..=10_000_000;
/// With fewer, one request would be more than the share of the lowest priority.
const REQUESTS_BOUNDS: RangeInclusive<u64> = 10..=10_000_000;
/// Pingora counts keep-alive in whole seconds, and none of these is useful below one.
const TIMEOUT_BOUNDS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
/// Bytes each second.
const RATE_BOUNDS: RangeInclusive<u64> = 1..=1_000_000_000;

/// What is in force without a word in the files.
impl Default for Listeners {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            client_address_from: ForwardedField::XForwardedFor,
            connections_max: 10_000,
            // Many people may share one address behind a carrier's NAT.
            connections_per_address: 1_000,
            handshakes_max: 1_000,
            requests_max: None,
            timeouts: ListenerTimeouts {
                handshake: Duration::from_secs(10),
                head: Duration::from_secs(10),
                idle: Duration::from_secs(60),
                body: Duration::from_secs(60),
                write: Duration::from_secs(60),
            },
            // What Kestrel and IIS ask for. The slowest modems were twice as fast.
            rates: Rates {
                request_body: Some(240),
                response: Some(240),
                grace: Duration::from_secs(10),
            },
        }
    }
}

impl Compiler<'_> {
    pub(super) fn listeners(&mut self, documents: &[Document]) -> Listeners {
        let mut given = documents
            .iter()
            .filter_map(|document| document.listeners.given());
        let first = given.next();
        for again in given {
            let first = first.map_or(again.mark, |first| first.mark);
            let message = format!(
                "`listeners` is defined twice, first at {}",
                self.place(first)
            );
            self.report
                .push(again.mark, Fault::new(codes::DEFINED_TWICE, message));
        }
        match first {
            Some(at) => self.listeners_of(&at.value),
            None => self.listeners_of(&ListenersDoc::default()),
        }
    }

    fn listeners_of(&mut self, doc: &ListenersDoc) -> Listeners {
        let trusted_proxies = self
            .texts(&doc.trusted_proxies, TRUSTED_PROXIES_MAX, |text| {
                addresses::range(text).map(drop)
            })
            .iter()
            .filter_map(|text| addresses::range(text).ok())
            .collect();
        let proxy_protocol = matches!(
            doc.proxy_protocol.given(),
            Some(At {
                value: ProxyProtocolDoc::Required,
                ..
            })
        );
        self.check_proxies(doc, proxy_protocol);
        let (no_connections, no_requests, no_timeouts, no_rates) = Default::default();
        let ConnectionsDoc {
            max,
            per_address,
            handshakes,
        } = value(&doc.connections, &no_connections);
        let default = Listeners::default();
        Listeners {
            trusted_proxies,
            proxy_protocol,
            client_address_from: match doc.client_address_from.given().map(|at| at.value) {
                None => default.client_address_from,
                Some(ForwardedDoc::XForwardedFor) => ForwardedField::XForwardedFor,
                Some(ForwardedDoc::Forwarded) => ForwardedField::Forwarded,
            },
            connections_max: self.connections(max, default.connections_max),
            connections_per_address: self.connections(per_address, default.connections_per_address),
            handshakes_max: self.connections(handshakes, default.handshakes_max),
            requests_max: self.requests_max(value(&doc.requests, &no_requests)),
            timeouts: self.listener_timeouts(value(&doc.timeouts, &no_timeouts), &default.timeouts),
            rates: self.rates(value(&doc.rates, &no_rates), &default.rates),
        }
    }

    /// Keys about proxies that would do nothing, or let nobody in.
    fn check_proxies(&mut self, doc: &ListenersDoc, proxy_protocol: bool) {
        let some = doc
            .trusted_proxies
            .given()
            .is_some_and(|list| !list.value.is_empty());
        if some {
            return;
        }
        if let Some(at) = doc.proxy_protocol.given().filter(|_| proxy_protocol) {
            let message = "`proxy_protocol: required` without `trusted_proxies` lets nobody in";
            self.report
                .push(at.mark, Fault::new(codes::CONTRADICTION, message));
        }
        if let Some(at) = doc.client_address_from.given() {
            let message = "`client_address_from` has no effect without `trusted_proxies`";
            self.report
                .push(at.mark, Fault::new(codes::CONTRADICTION, message));
        }
    }

    fn connections(&mut self, field: &Field<u64>, default: usize) -> usize {
        let number = self.large_number(field, default as u64, CONNECTIONS_BOUNDS);
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    fn requests_max(&mut self, doc: &RequestsDoc) -> Option<usize> {
        doc.max.given()?;
        let max = self.large_number(&doc.max, *REQUESTS_BOUNDS.end(), REQUESTS_BOUNDS);
        usize::try_from(max).ok()
    }

    fn listener_timeouts(
        &mut self,
        doc: &ListenerTimeoutsDoc,
        default: &ListenerTimeouts,
    ) -> ListenerTimeouts {
        let mut timeout = |field, default| self.duration(field, default, TIMEOUT_BOUNDS);
        ListenerTimeouts {
            handshake: timeout(&doc.handshake, default.handshake),
            head: timeout(&doc.head, default.head),
            idle: timeout(&doc.idle, default.idle),
            body: timeout(&doc.body, default.body),
            write: timeout(&doc.write, default.write),
        }
    }

    fn rates(&mut self, doc: &RatesDoc, default: &Rates) -> Rates {
        let mut rate = |field: &Field<String>, default| match field.given() {
            None => default,
            Some(at) if at.value == "off" => None,
            Some(at) => self.report.check(at.mark, byte_rate(&at.value)),
        };
        Rates {
            request_body: rate(&doc.request_body, default.request_body),
            response: rate(&doc.response, default.response),
            grace: self.duration(&doc.grace, default.grace, TIMEOUT_BOUNDS),
        }
    }
}

/// A key that is a map, or the map with nothing in it.
fn value<'f, T>(field: &'f Field<T>, empty: &'f T) -> &'f T {
    field.given().map_or(empty, |at| &at.value)
}

/// Bytes each second.
fn byte_rate(text: &str) -> Result<u64, Fault> {
    let rate = values::size(text)
        .map_err(|fault| fault.hint("write bytes each second, as in `240B`, or `off`"))?;
    if RATE_BOUNDS.contains(&rate) {
        return Ok(rate);
    }
    let message = format!("{} is not within `1B` and `1GB`", shown(text));
    Err(Fault::new(codes::OUT_OF_RANGE, message).hint("`off` asks for no rate"))
}
