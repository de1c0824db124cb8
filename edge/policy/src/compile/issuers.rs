//! Issuers: whose tokens are believed, by which keys and rules.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use palisade_token::{Algorithm, IssuerSpec, JwksSource};
use url::{Host, Url};

use super::{Compiler, values};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{IssuerDoc, JwksDoc};
use crate::field::At;

/// Names in one list of an issuer.
const NAMES_MAX: usize = 64;
/// More clock difference than this is a broken clock.
const LEEWAY_BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(300);
/// Faster is a load test of the issuer; slower, and a removed key works for days.
const REFRESH_BOUNDS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);
const COOLDOWN_BOUNDS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);

impl Compiler<'_> {
    pub(super) fn issuer(&mut self, at: &At<IssuerDoc>) -> IssuerSpec {
        let doc = &at.value;
        let faults_before = self.report.count();
        let name = doc.name.given().map_or("", |name| &name.value);
        let identifier = self.required(&doc.issuer, at.mark, "issuer", "issuer");
        let identifier = identifier.and_then(|issuer| {
            self.report
                .check(issuer.mark, values::plain_text(&issuer.value, "issuer"))?;
            Some(issuer.value.as_str())
        });
        let jwks = self.required(&doc.jwks, at.mark, "issuer", "jwks");
        let source = jwks.and_then(|jwks| self.source(jwks));
        let stand_in = || JwksSource::File(PathBuf::new());
        let mut spec = IssuerSpec::new(
            name,
            identifier.unwrap_or(""),
            &[],
            source.unwrap_or_else(stand_in),
        );
        self.required_list(&doc.audiences, at.mark, "issuer", "audiences");
        spec.audiences = self.texts(&doc.audiences, NAMES_MAX, |text| {
            values::plain_text(text, "audience")
        });
        self.required_list(&doc.algorithms, at.mark, "issuer", "algorithms");
        let algorithms = self.texts(&doc.algorithms, NAMES_MAX, |text| algorithm(text).map(drop));
        spec.algorithms = algorithms
            .iter()
            .filter_map(|name| algorithm(name).ok())
            .collect();
        spec.token_types = self.texts(&doc.token_types, NAMES_MAX, |text| {
            values::plain_text(text, "token type")
        });
        spec.leeway = self.duration(&doc.leeway, spec.leeway, LEEWAY_BOUNDS);
        spec.require_nbf = doc.require_nbf.given().is_some_and(|at| at.value);
        if let Some(jwks) = jwks {
            self.fetching(&jwks.value, &mut spec);
        }
        // The verifier's own judgement is last; what it would say of a stand-in is noise.
        if self.report.count() == faults_before
            && let Err(error) = spec.check()
        {
            let (message, hint) = match error.fault.split_once("\nhint: ") {
                Some((message, hint)) => (message, Some(hint.to_owned())),
                None => (error.fault.as_str(), None),
            };
            self.report
                .push(at.mark, Fault::new(codes::ISSUER, message).maybe_hint(hint));
        }
        spec
    }

    fn fetching(&mut self, jwks: &JwksDoc, spec: &mut IssuerSpec) {
        spec.refresh = self.duration(&jwks.refresh, spec.refresh, REFRESH_BOUNDS);
        spec.cooldown = self.duration(&jwks.cooldown, spec.cooldown, COOLDOWN_BOUNDS);
        if let Some(ca) = jwks.ca.given() {
            if jwks.file.given().is_some() {
                let fault = Fault::new(
                    codes::CONTRADICTION,
                    "`ca` has no effect on a key set from a file",
                );
                self.report.push(ca.mark, fault);
            }
            self.authorities(ca);
            spec.ca = Some(self.folder.resolve(&ca.value));
        }
    }

    fn source(&mut self, at: &At<JwksDoc>) -> Option<JwksSource> {
        let doc = &at.value;
        match (doc.url.given(), doc.file.given()) {
            (Some(_), Some(file)) => {
                self.report.push(
                    file.mark,
                    Fault::new(
                        codes::CHOICE,
                        "a key set comes from a `url` or from a `file`, not from both",
                    ),
                );
                None
            }
            (Some(url), None) => self
                .report
                .check(url.mark, key_set_url(&url.value))
                .map(JwksSource::Url),
            (None, Some(file)) => {
                self.report
                    .check(file.mark, values::plain_text(&file.value, "file"))?;
                Some(JwksSource::File(self.folder.resolve(&file.value)))
            }
            (None, None) => {
                if doc.url.is_absent() && doc.file.is_absent() {
                    self.missing(
                        at.mark,
                        "the jwks has neither a `url` nor a `file`".to_owned(),
                    );
                }
                None
            }
        }
    }
}

fn algorithm(name: &str) -> Result<Algorithm, Fault> {
    Algorithm::from_jose(name).ok_or_else(|| {
        let known = Algorithm::ALL.map(Algorithm::as_jose);
        let fault = Fault::new(
            codes::CHOICE,
            format!("algorithm {} is not accepted", shown(name)),
        );
        // No nearest name: that of a refused algorithm may be one that means something else.
        fault.hint(format!("accepted are {}", known.join(", ")))
    })
}

/// Keys that came over clear text from another machine are anybody's keys.
fn key_set_url(text: &str) -> Result<Url, Fault> {
    let fault = |why: &str| Fault::new(codes::ISSUER, format!("key set address {why}"));
    let url = Url::parse(text)
        .map_err(|error| fault(&format!("{} is not a URL: {error}", shown(text))))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fault("holds credentials").conceal());
    }
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback => Ok(url),
        _ => Err(fault(&format!("{} is not https", shown(text)))
            .hint("http is accepted for localhost, 127.0.0.1 and [::1] only")),
    }
}
