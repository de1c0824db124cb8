//! Routes, compiled.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{
    AccessId, Action, Auth, Backend, Compression, Cors, Forward, LimitId, Mode, OnReload, Origin,
    Pattern, Priority,
};
use crate::hosts::HostId;

/// What happens to the requests that one rule matches.
#[derive(Debug)]
pub struct Route {
    /// Unique name: the `http_route` label of every metric and log line.
    pub name: Arc<str>,
    pub origin: Origin,
    /// Where each setting was written that is not left to its default: here, or in what the route inherits.
    pub settings: Vec<Setting>,
    /// Changes when anything about the route does, or about what it refers to.
    pub fingerprint: u64,
    /// Changes when who may have a stream on the route does, or where it leads.
    pub admission: u64,
    /// Served on the plain-text listener too, instead of a redirect to https.
    pub plain_http: bool,
    pub priority: Priority,
    pub on_reload: OnReload,
    pub auth: Option<Auth>,
    /// All must let the request pass.
    pub access: Vec<AccessUse>,
    /// All must allow the request; taken in this order.
    pub limits: Vec<LimitUse>,
    pub cors: Option<Cors>,
    pub compression: Option<Compression>,
    pub cache: Option<CacheRule>,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    /// From the end of the request head to the end of the response; none is no bound.
    pub request_timeout: Option<Duration>,
    /// Largest request body in bytes; a larger one is answered 413.
    pub request_body_max: u64,
    /// Largest response body in bytes; a larger one is broken off.
    pub response_body_max: Option<u64>,
    pub action: Action,
    /// WebSocket connections are taken, on these terms.
    pub websocket: Option<WebSocket>,
    /// What it is under hosts whose `defaults` it inherits from, sorted by host; none of them has any itself.
    pub variants: Vec<(HostId, Arc<Route>)>,
}

impl Route {
    /// A route that answers 503 and asks for nothing.
    pub fn tombstone(name: Arc<str>, origin: Origin) -> Self {
        Self {
            name,
            origin,
            settings: Vec::new(),
            fingerprint: 0,
            admission: 0,
            // Clients would remember a redirect to https for longer than the fault is there.
            plain_http: true,
            priority: Priority::Normal,
            on_reload: OnReload::Keep,
            auth: None,
            access: Vec::new(),
            limits: Vec::new(),
            cors: None,
            compression: None,
            cache: None,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            request_timeout: None,
            // Whatever it is, the answer is 503.
            request_body_max: u64::MAX,
            response_body_max: None,
            action: Action::Tombstone,
            websocket: None,
            variants: Vec::new(),
        }
    }

    /// What holds for a request to a host.
    pub fn under(self: &Arc<Self>, host: HostId) -> &Arc<Self> {
        match self.variants.binary_search_by_key(&host, |(id, _)| *id) {
            Ok(at) => self.variants.get(at).map_or(self, |(_, variant)| variant),
            Err(_) => self,
        }
    }

    /// The route, and what it is under hosts with `defaults`.
    pub fn all(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::once(self).chain(self.variants.iter().map(|(_, variant)| variant))
    }

    /// Present where requests go upstream.
    pub fn forward(&self) -> Option<&Forward> {
        match &self.action {
            Action::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// Where requests can go.
    pub fn backends(&self) -> &[Backend] {
        self.forward().map_or(&[], |forward| &forward.backends)
    }
}

/// A setting that a policy gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As it is written: `request_timeout`.
    pub key: &'static str,
    pub origin: Origin,
}

/// A limit on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitUse {
    pub id: LimitId,
    /// Shadow where the limit or the route says so.
    pub mode: Mode,
}

/// An access rule on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessUse {
    pub id: AccessId,
    /// Shadow where the rule or the route says so.
    pub mode: Mode,
}

/// On which terms a route takes WebSocket connections.
#[derive(Debug, Clone)]
pub struct WebSocket {
    /// Web origins (RFC 6454, 6.2) whose pages may open one; any where none is listed.
    pub origins: Vec<String>,
    /// Longest silence in both directions together.
    pub idle_timeout: Duration,
    /// From the upgrade to the end.
    pub lifetime: Duration,
    /// The connection ends when the caller's token does.
    pub end_with_token: bool,
}

/// When an answer may be kept and given to others.
#[derive(Debug, Clone)]
pub struct CacheRule {
    /// Of the definition among `caches`; none where the route has a rule of its own.
    pub name: Option<Arc<str>>,
    /// Freshness for answers that carry no explicit lifetime; none: such answers are not stored.
    pub default_ttl: Option<Duration>,
}

/// Changes to a header block, in this order: remove, set, add.
#[derive(Debug, Clone, Default)]
pub struct HeaderEdits {
    pub remove: Vec<HeaderName>,
    pub set: Vec<(HeaderName, EditValue)>,
    pub add: Vec<(HeaderName, EditValue)>,
}

/// What a field is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditValue {
    Text(HeaderValue),
    /// Never of a field that carries a credential.
    Pattern(Pattern),
}
