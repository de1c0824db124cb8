//! Routes: what is matched, who may use it, what is done to it, where it goes.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};

use super::matches::Claimed;
use super::{Compiler, Index, headers, quoted, values};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{AuthDoc, CacheDoc, ClusterDoc, RouteDoc};
use crate::field::{At, Field, items};
use crate::model::{Auth, CacheRule, ClusterId, IssuerId, Limit, LimitId, LimitKey, Route};
use crate::routing::{RouteTable, Rule};

/// Limits of one route: each is a look-up in a shared table.
const LIMITS_MAX: usize = 8;
/// Scopes, roles, and claims of one route.
const GRANTS_MAX: usize = 64;
const TIMEOUT_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(86_400);
const TTL_BOUNDS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);
const BODY_BYTES: u64 = 16 << 20;
/// Bodies stream through, so this protects upstreams, not the edge.
const BODY_BYTES_MAX: u64 = 16 << 30;

/// What routes refer to.
pub(super) struct Names<'d> {
    pub(super) clusters: Index<'d>,
    pub(super) issuers: Index<'d>,
    pub(super) limits: Index<'d>,
}

/// What is behind the names, as far as routes have to fit it.
pub(super) struct Defined<'d> {
    pub(super) clusters: &'d [&'d At<ClusterDoc>],
    pub(super) limits: &'d [Limit],
}

impl Compiler<'_> {
    pub(super) fn routes(
        &mut self,
        routes: &[&At<RouteDoc>],
        names: &Names<'_>,
        defined: &Defined<'_>,
    ) -> RouteTable {
        let mut claimed = Claimed::default();
        let mut rules = Vec::new();
        for at in routes {
            let route = Arc::new(self.route(at, names, defined));
            let hosts = self.hosts(&at.value.hosts);
            self.required_list(&at.value.matches, at.mark, "route", "matches");
            for written in items(&at.value.matches) {
                let path = self.required(&written.value.path, written.mark, "match", "path");
                let at_path = path.map_or(written.mark, |path| path.mark);
                let path = path.and_then(|path| self.path(path));
                let conditions = self.conditions(&written.value);
                let Some(path) = path else { continue };
                let name = at.value.name.given().map_or("", |name| &name.value);
                self.claim(&mut claimed, (name, at_path), &hosts, (&path, &conditions));
                rules.push(Rule {
                    hosts: hosts.clone(),
                    path,
                    conditions,
                    route: route.clone(),
                });
            }
        }
        RouteTable::build(rules)
    }

    fn route(&mut self, at: &At<RouteDoc>, names: &Names<'_>, defined: &Defined<'_>) -> Route {
        let doc = &at.value;
        let name = doc.name.given().map_or("", |name| &name.value);
        let owner = format!("route {}", quoted(name));
        let cluster = self.required(&doc.cluster, at.mark, "route", "cluster");
        let cluster = cluster.and_then(|cluster| self.find(cluster, &names.clusters, &owner));
        let body_max = doc.request_body_max.given();
        let body_max = body_max.and_then(|at| self.report.check(at.mark, body_size(&at.value)));
        Route {
            name: name.into(),
            origin: self.origin(&doc.name, at.mark),
            plain_http: is_on(&doc.plain_http),
            auth: doc.auth.given().map(|auth| self.auth(auth, names, &owner)),
            limits: self.limits(doc, (names, defined), &owner),
            cache: doc.cache.given().map(|cache| self.cache(&cache.value)),
            request_headers: self.header_edits(&doc.request_headers),
            response_headers: self.header_edits(&doc.response_headers),
            request_timeout: self.optional_duration(&doc.request_timeout, TIMEOUT_BOUNDS),
            request_body_max: body_max.unwrap_or(BODY_BYTES),
            translate: self.translate(
                &doc.translate,
                cluster.and_then(|position| defined.clusters.get(position).copied()),
            ),
            websocket: self.websocket(
                doc,
                cluster.and_then(|position| defined.clusters.get(position).copied()),
            ),
            cluster: ClusterId(cluster.unwrap_or_default()),
        }
    }

    fn translate(&mut self, field: &Field<bool>, cluster: Option<&At<ClusterDoc>>) -> bool {
        let (Some(translate), Some(cluster)) = (field.given(), cluster) else {
            return is_on(field);
        };
        if translate.value && cluster.value.descriptors.is_absent() {
            let name = cluster.value.name.given().map_or("", |name| &name.value);
            let fault = Fault::new(
                codes::NO_DESCRIPTORS,
                format!(
                    "cluster {} has no `descriptors` to translate by",
                    quoted(name)
                ),
            );
            self.report.push(
                translate.mark,
                fault.hint("name a protobuf FileDescriptorSet in the cluster's `descriptors`"),
            );
        }
        translate.value
    }

    fn limits(
        &mut self,
        doc: &RouteDoc,
        (names, defined): (&Names<'_>, &Defined<'_>),
        owner: &str,
    ) -> Vec<LimitId> {
        let mut limits = Vec::new();
        for reference in items(&doc.limits) {
            let Some(position) = self.find(reference, &names.limits, owner) else {
                continue;
            };
            let key = defined.limits.get(position).map(|limit| &limit.key);
            if doc.auth.is_absent() && matches!(key, Some(LimitKey::Claim(_))) {
                let message = format!(
                    "limit {} counts by a claim, and the route asks for no token",
                    quoted(&reference.value)
                );
                let fault = Fault::new(codes::CONTRADICTION, message);
                self.report.push(
                    reference.mark,
                    fault.hint("all its requests would share one count"),
                );
            }
            if limits.contains(&LimitId(position)) {
                let message = format!("{} is listed twice", shown(&reference.value));
                self.report
                    .push(reference.mark, Fault::new(codes::REPEATED, message));
            } else if limits.len() >= LIMITS_MAX {
                self.report.push(
                    reference.mark,
                    Fault::new(codes::TOO_MUCH, format!("more than {LIMITS_MAX} limits")),
                );
                break;
            } else {
                limits.push(LimitId(position));
            }
        }
        limits
    }

    fn cache(&mut self, doc: &CacheDoc) -> CacheRule {
        CacheRule {
            default_ttl: self.optional_duration(&doc.default_ttl, TTL_BOUNDS),
        }
    }

    fn auth(&mut self, at: &At<AuthDoc>, names: &Names<'_>, owner: &str) -> Auth {
        let doc = &at.value;
        let issuer = self.required(&doc.issuer, at.mark, "auth", "issuer");
        let issuer = issuer.and_then(|issuer| self.find(issuer, &names.issuers, owner));
        let scopes = self.texts(&doc.scopes, GRANTS_MAX, values::scope);
        let roles = self.texts(&doc.roles, GRANTS_MAX, |text| {
            values::plain_text(text, "role")
        });
        let optional = is_on(&doc.optional);
        if let Some(written) = doc.optional.given()
            && optional
            && !(scopes.is_empty() && roles.is_empty())
        {
            let fault = Fault::new(
                codes::CONTRADICTION,
                "a caller without a token has no scopes and no roles, so it is not optional",
            );
            self.report.push(written.mark, fault);
        }
        Auth {
            issuer: IssuerId(issuer.unwrap_or_default()),
            optional,
            scopes,
            roles,
            claim_headers: self.claim_headers(doc),
            forward_token: is_on(&doc.forward_token),
        }
    }

    fn claim_headers(&mut self, doc: &AuthDoc) -> Vec<(String, http::HeaderName)> {
        let mut claims = Vec::new();
        let mut seen = HashSet::new();
        for (claim, header) in doc
            .claim_headers
            .given()
            .into_iter()
            .flat_map(|at| &at.value.0)
        {
            let checked = self
                .report
                .check(claim.mark, values::plain_text(&claim.value, "claim"));
            let Some(header) = header.given() else {
                continue;
            };
            let name = self.report.check(header.mark, claim_header(&header.value));
            let (Some(()), Some(name)) = (checked, name) else {
                continue;
            };
            if claims.len() >= GRANTS_MAX {
                self.report.push(
                    claim.mark,
                    Fault::new(codes::TOO_MUCH, format!("more than {GRANTS_MAX} claims")),
                );
                break;
            }
            if self.is_first(header, &name, &mut seen) {
                claims.push((claim.value.clone(), name));
            }
        }
        claims
    }
}

fn is_on(field: &Field<bool>) -> bool {
    field.given().is_some_and(|at| at.value)
}

fn body_size(text: &str) -> Result<u64, Fault> {
    let size = values::size(text)?;
    if size > BODY_BYTES_MAX {
        let message = format!("{} is more than `16GiB`", shown(text));
        return Err(Fault::new(codes::OUT_OF_RANGE, message));
    }
    Ok(size)
}

/// A claim in one of these would be taken for the client's own credentials; a name with `_` is
/// removed from every request, and upstreams may read it as another.
fn claim_header(text: &str) -> Result<http::HeaderName, Fault> {
    let name = headers::editable_name(text)?;
    if name == AUTHORIZATION || name == COOKIE {
        return Err(Fault::new(
            codes::PROTECTED_HEADER,
            format!("{} carries credentials, not claims", shown(text)),
        ));
    }
    if name.as_str().contains('_') {
        let fault = Fault::new(
            codes::HEADER,
            format!(
                "{} has an underscore, which upstreams read as a dash",
                shown(text)
            ),
        );
        return Err(fault.hint(format!("write {}", shown(&text.replace('_', "-")))));
    }
    Ok(name)
}
