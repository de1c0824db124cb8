//! Hosts: handshakes, and what answers carry. What an entry leaves out is as in the entry for
//! every host, so that one line there holds for all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderValue;

use super::Compiler;
use crate::codes;
use crate::diagnostic::{Fault, Mark, shown};
use crate::document::{AlpnDoc, HostDoc, HostTlsDoc, HstsDoc, TlsVersionDoc};
use crate::field::{At, Field, List, items};
use crate::hosts::{Host, HostId, HostTable, TlsVersion};
use crate::routing::HostMatch;

const HSTS_BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_650 * 86_400);
/// What Mozilla's guideline asks for.
const HSTS_MAX_AGE: Duration = Duration::from_secs(730 * 86_400);
/// What the browsers' lists ask for (hstspreload.org).
const PRELOAD_MAX_AGE_MIN: Duration = Duration::from_secs(365 * 86_400);

impl Compiler<'_> {
    pub(super) fn host_rules(&mut self, all: &[&At<HostDoc>]) -> HostTable {
        let mut any: Option<(Host, Mark)> = None;
        for at in all.iter().filter(|at| at.value.hosts.is_absent()) {
            if let Some((_, first)) = &any {
                let message = format!(
                    "two hosts entries without `hosts`, the first at {}",
                    self.place(*first)
                );
                let mark = Mark {
                    length: 1,
                    ..at.mark
                };
                self.report
                    .push(mark, Fault::new(codes::DEFINED_TWICE, message));
                continue;
            }
            let host = self.host_entry(at, &Host::unnamed());
            any = Some((host, at.mark));
        }
        let any = any.map_or_else(Host::unnamed, |(host, _)| host);
        let mut claimed: HashMap<HostMatch, Mark> = HashMap::new();
        let mut named = Vec::new();
        for at in all.iter().filter(|at| !at.value.hosts.is_absent()) {
            let mut host = self.host_entry(at, &any);
            host.id = HostId(named.len() + 1);
            host.patterns = self.hosts(&at.value.hosts);
            for written in items(&at.value.hosts) {
                self.claim_host(written, &mut claimed);
            }
            self.refuse_addresses(at, &host.patterns);
            named.push(host);
        }
        HostTable::build(any, named)
    }

    fn claim_host(&mut self, written: &At<String>, claimed: &mut HashMap<HostMatch, Mark>) {
        // What is no host was reported with the list.
        let Ok(pattern) = super::hosts::host(&written.value) else {
            return;
        };
        if let Some(first) = claimed.get(&pattern) {
            let message = format!(
                "host {} is defined twice, first at {}",
                shown(&written.value),
                self.place(*first)
            );
            self.report
                .push(written.mark, Fault::new(codes::DEFINED_TWICE, message));
            return;
        }
        claimed.insert(pattern, written.mark);
    }

    /// Clients send no server name for an address (RFC 6066, 3), so its handshake is everybody's.
    fn refuse_addresses(&mut self, at: &At<HostDoc>, patterns: &[HostMatch]) {
        let tls = at.value.tls.given();
        let Some(written) = tls.and_then(|tls| tls.value.client_certificates.given()) else {
            return;
        };
        let is_address = |pattern: &HostMatch| matches!(pattern, HostMatch::Exact(name) if name.starts_with('[') || name.parse::<IpAddr>().is_ok());
        if patterns.iter().any(is_address) {
            let fault = Fault::new(
                codes::CONTRADICTION,
                "`client_certificates` of an address: clients send no server name for it",
            );
            self.report.push(
                written.mark,
                fault.hint("write them in the entry without `hosts`"),
            );
        }
    }

    fn host_entry(&mut self, at: &At<HostDoc>, base: &Host) -> Host {
        let doc = &at.value;
        let absent = HostTlsDoc::default();
        let tls = doc.tls.given().map_or(&absent, |tls| &tls.value);
        let min_version = match tls.min_version.given().map(|at| at.value) {
            None => base.min_version,
            Some(TlsVersionDoc::Tls12) => TlsVersion::Tls12,
            Some(TlsVersionDoc::Tls13) => TlsVersion::Tls13,
        };
        let client_certificates = match tls.client_certificates.given() {
            None => base.client_certificates.clone(),
            Some(written) => self.unless("off", written).and_then(|full| {
                let mark = written.mark;
                self.client_certificates(full, mark)
            }),
        };
        let hsts = match doc.hsts.given() {
            None => base.hsts.clone(),
            Some(written) => self
                .unless("off", written)
                .and_then(|full| self.hsts(full, written.mark)),
        };
        let alt_svc = doc.alt_svc.given();
        if let Some(at) = alt_svc.filter(|at| at.value && client_certificates.is_some()) {
            let message = "`alt_svc: true` with `client_certificates`: HTTP/3 asks for none";
            self.report
                .push(at.mark, Fault::new(codes::CONTRADICTION, message));
        }
        let or = |field: &Field<bool>, inherited| field.given().map_or(inherited, |at| at.value);
        Host {
            id: HostId::default(),
            name: doc.name.given().map_or("", |name| &name.value).into(),
            origin: self.origin(&doc.name, at.mark),
            patterns: Vec::new(),
            min_version,
            alpn: self.alpn(&tls.alpn, &base.alpn),
            alt_svc: or(&doc.alt_svc, base.alt_svc) && client_certificates.is_none(),
            security_headers: or(&doc.security_headers, base.security_headers),
            client_certificates,
            hsts,
        }
    }

    fn alpn(&mut self, list: &List<AlpnDoc>, inherited: &[&'static str]) -> Vec<&'static str> {
        let Some(at) = list.given() else {
            return inherited.to_vec();
        };
        let mut protocols = Vec::new();
        for item in items(list) {
            let name = match item.value {
                AlpnDoc::H2 => "h2",
                AlpnDoc::Http11 => "http/1.1",
            };
            if protocols.contains(&name) {
                let message = format!("{} is listed twice", shown(name));
                self.report
                    .push(item.mark, Fault::new(codes::REPEATED, message));
                continue;
            }
            protocols.push(name);
        }
        if at.value.is_empty() {
            let fault = Fault::new(codes::MISSING, "the list of protocols is empty");
            self.report
                .push(at.mark, fault.hint("leave `alpn` out to offer all"));
        }
        protocols
    }

    fn hsts(&mut self, doc: &HstsDoc, mark: Mark) -> Option<HeaderValue> {
        let is_on = |field: &Field<bool>| field.given().is_some_and(|at| at.value);
        let max_age = self.duration(&doc.max_age, HSTS_MAX_AGE, HSTS_BOUNDS);
        let (subdomains, preload) = (is_on(&doc.include_subdomains), is_on(&doc.preload));
        if preload && !(subdomains && max_age >= PRELOAD_MAX_AGE_MIN) {
            let message = "`preload` needs `include_subdomains` and a `max_age` of a year or more";
            let mark = doc.preload.given().map_or(mark, |at| at.mark);
            self.report
                .push(mark, Fault::new(codes::CONTRADICTION, message));
        }
        let mut value = format!("max-age={}", max_age.as_secs());
        for (wanted, directive) in [(subdomains, "; includeSubDomains"), (preload, "; preload")] {
            if wanted {
                value.push_str(directive);
            }
        }
        HeaderValue::try_from(value).ok()
    }
}
