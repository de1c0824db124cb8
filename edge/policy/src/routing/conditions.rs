//! Whether a request holds up to the conditions of a rule, and if not, to which one.
//!
//! Invariant: traffic and `explain` call the same functions. A failed condition is a reference to
//! it: words are made of it only when somebody wants to read them.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, Method};
use palisade_token::Claims;
use percent_encoding::percent_decode_str;

use super::{HostMatch, PathMatch, Request, Rule};
use crate::model::{AddressSet, CertificateMatch, Conditions, Route, ValueMatch};

/// The condition that a request does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch<'r> {
    Host(&'r [HostMatch]),
    Path(&'r PathMatch),
    Method(&'r [Method]),
    Header(&'r HeaderName, &'r ValueMatch),
    Query(&'r str, &'r ValueMatch),
    ClientAddress(&'r AddressSet),
    ClientCertificate(&'r CertificateMatch),
    Claim(&'r str, &'r ValueMatch),
    /// None of them holds.
    Any(&'r [Conditions]),
    /// It holds.
    Not(&'r Conditions),
}

/// A request, and what was found out about it on the way.
pub(super) struct Facts<'r, 'q> {
    request: Request<'q>,
    /// A token is verified once for all routes that ask for the same credentials.
    claims: Vec<(&'r Arc<Route>, Option<Arc<Claims>>)>,
}

impl<'r, 'q> Facts<'r, 'q> {
    pub(super) fn new(request: Request<'q>) -> Self {
        Self {
            request,
            claims: Vec::new(),
        }
    }

    fn claims(&mut self, route: &'r Arc<Route>) -> Option<Arc<Claims>> {
        // Under a host with `defaults` a route may ask for others.
        let credentials = |route: &'r Arc<Route>| {
            let auth = route.auth.as_ref().filter(|_| route.variants.is_empty());
            auth.map(|auth| auth.any_of.as_slice())
        };
        let own = credentials(route);
        if own.is_none() && route.variants.is_empty() {
            return None;
        }
        let is_same = |of| Arc::ptr_eq(of, route) || (own.is_some() && credentials(of) == own);
        let known = self.claims.iter().find(|(of, _)| is_same(of));
        if let Some((_, claims)) = known {
            return claims.clone();
        }
        let claims = (self.request.claims)(route);
        self.claims.push((route, claims.clone()));
        claims
    }
}

impl Rule {
    /// All conditions but that on the method, whose failure is answered in another way.
    pub(super) fn check<'r>(&'r self, facts: &mut Facts<'r, '_>) -> Result<(), Mismatch<'r>> {
        self.conditions.check(&self.route, facts)
    }

    pub(super) fn takes(&self, method: &Method) -> bool {
        self.conditions.take(method)
    }
}

impl Conditions {
    fn take(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    /// What is cheap comes first; a token is verified only when the rest holds.
    fn check<'r>(
        &'r self,
        route: &'r Arc<Route>,
        facts: &mut Facts<'r, '_>,
    ) -> Result<(), Mismatch<'r>> {
        let request = facts.request;
        for (name, wanted) in &self.headers {
            let mut values = request.headers.get_all(name).iter();
            if !values.any(|value| wanted.holds(value.as_bytes())) {
                return Err(Mismatch::Header(name, wanted));
            }
        }
        for (name, wanted) in &self.query {
            if !values_of(request.query, name).any(|value| wanted.holds(&value)) {
                return Err(Mismatch::Query(name, wanted));
            }
        }
        if let Some(set) = self.client_addresses.as_deref()
            && !set.contains(request.client)
        {
            return Err(Mismatch::ClientAddress(set));
        }
        if let Some(wanted) = &self.client_certificate
            && !request.certificate.is_some_and(|shown| wanted.holds(shown))
        {
            return Err(Mismatch::ClientCertificate(wanted));
        }
        for each in &self.all {
            each.check_all(route, facts)?;
        }
        let mut alternatives = self.any.iter();
        if !self.any.is_empty() && !alternatives.any(|one| one.check_all(route, facts).is_ok()) {
            return Err(Mismatch::Any(&self.any));
        }
        if let Some(not) = self.not.as_deref()
            && not.check_all(route, facts).is_ok()
        {
            return Err(Mismatch::Not(not));
        }
        if self.claims.is_empty() {
            return Ok(());
        }
        let claims = facts.claims(route);
        for (name, wanted) in &self.claims {
            let claims = claims.as_deref();
            if !claims.is_some_and(|claims| wanted.holds_for_claim(claims, name)) {
                return Err(Mismatch::Claim(name, wanted));
            }
        }
        Ok(())
    }

    /// Below the top a method is a condition as any other.
    fn check_all<'r>(
        &'r self,
        route: &'r Arc<Route>,
        facts: &mut Facts<'r, '_>,
    ) -> Result<(), Mismatch<'r>> {
        if !self.take(facts.request.method) {
            return Err(Mismatch::Method(&self.methods));
        }
        self.check(route, facts)
    }
}

impl ValueMatch {
    /// Whether one value is as wanted.
    pub fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Suffix(text) => value.ends_with(text.as_bytes()),
            Self::Regex(regex) => regex.is_match(value),
            Self::Present => true,
        }
    }

    /// Whether a claim is as wanted; of a list one item is enough.
    pub fn holds_for_claim(&self, claims: &Claims, path: &str) -> bool {
        let mut values = claims.values(path);
        values.any(|value| self.holds(value.as_bytes()))
    }

    /// Whether every value that the other takes is taken by this one, as far as that is certain.
    pub(super) fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present, _) => true,
            (_, Self::Exact(text)) => self.holds(text.as_bytes()),
            (Self::Prefix(ours), Self::Prefix(theirs)) => theirs.starts_with(ours),
            (Self::Suffix(ours), Self::Suffix(theirs)) => theirs.ends_with(ours),
            _ => self == other,
        }
    }
}

/// The values of a parameter, decoded.
pub(super) fn values_of<'q>(
    query: Option<&'q str>,
    name: &str,
) -> impl Iterator<Item = Cow<'q, [u8]>> {
    let pairs = query
        .unwrap_or("")
        .split('&')
        .filter(|pair| !pair.is_empty());
    pairs.filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_named = percent_decode_str(key).eq(name.bytes());
        is_named.then(|| percent_decode_str(value).into())
    })
}
