//! Routes: what is matched, who may use it, what is done to it, where it goes.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::defaults::Inheritance;
use super::fingerprints::Referents;
use super::header_sets::HeaderSet;
use super::matches::Claimed;
use super::patterns::Variables;
use super::{Compiler, Index, forward, quoted, values};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{ClusterDoc, DefaultsDoc, ModeDoc, OnReloadDoc, RouteDoc, Settings};
use crate::field::{At, Field, items};
use crate::model::{
    AccessRule, ApiKeys, Auth, CacheRule, Limit, LimitId, LimitKey, LimitUse, Mode, OnReload,
    Route, Setting,
};
use crate::routing::{RouteTable, Rule};

/// Limits of one route: each is a look-up in a shared table.
const LIMITS_MAX: usize = 8;
pub(super) const TIMEOUT_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(86_400);
const BODY_BYTES: u64 = 16 << 20;
/// Bodies stream through, so this protects upstreams, not the edge.
const BODY_BYTES_MAX: u64 = 16 << 30;

/// What routes refer to.
pub(super) struct Names<'d> {
    pub(super) clusters: Index<'d>,
    pub(super) issuers: Index<'d>,
    pub(super) limits: Index<'d>,
    pub(super) api_keys: Index<'d>,
    pub(super) access: Index<'d>,
    pub(super) caches: Index<'d>,
    pub(super) header_sets: Index<'d>,
}

/// What is behind the names, as far as routes have to fit it.
pub(super) struct Defined<'d> {
    pub(super) clusters: &'d [&'d At<ClusterDoc>],
    pub(super) limits: &'d [Limit],
    pub(super) referents: &'d Referents,
    pub(super) api_keys: &'d [ApiKeys],
    pub(super) access: &'d [AccessRule],
    pub(super) caches: &'d [CacheRule],
    pub(super) header_sets: &'d [HeaderSet],
}

impl Compiler<'_> {
    pub(super) fn routes(
        &mut self,
        routes: &[&At<RouteDoc>],
        (names, defined): (&Names<'_>, &Defined<'_>),
        inheritance: &Inheritance<'_>,
    ) -> RouteTable {
        let mut claimed = Claimed::default();
        let (mut rules, mut marks) = (Vec::new(), Vec::new());
        let mut variants = 0;
        for at in routes {
            let hosts = self.hosts(&at.value.hosts);
            let route = if self.buried.contains(&at.mark) {
                let name = at.value.name.given().map_or("", |name| &name.value);
                Route::tombstone(name.into(), self.origin(&at.value.name, at.mark))
            } else {
                let layers = inheritance.of(&hosts);
                let mut route = self.route(at, (names, defined), &layers.base);
                for (host, layers) in layers.variants {
                    let variant = self.route(at, (names, defined), &layers);
                    route.variants.push((host, Arc::new(variant)));
                }
                route
            };
            variants += route.variants.len();
            if self.too_many_variants(at.mark, variants) {
                break;
            }
            let mut route = Arc::new(route);
            self.required_list(&at.value.matches, at.mark, "route", "matches");
            let mut matches = Vec::new();
            for written in items(&at.value.matches) {
                let path = self.required(&written.value.path, written.mark, "match", "path");
                let at_path = path.map_or(written.mark, |path| path.mark);
                let path = path.and_then(|path| self.path(path));
                let conditions = self.conditions(&written.value);
                self.check_claims(written, &conditions, &route);
                for (_, variant) in &route.variants {
                    self.check_claims(written, &conditions, variant);
                }
                let Some(path) = path else { continue };
                let name = at.value.name.given().map_or("", |name| &name.value);
                self.claim(&mut claimed, (name, at_path), &hosts, (&path, &conditions));
                marks.push(at_path);
                matches.push((path, conditions));
            }
            defined.referents.seal(&mut route, &hosts, &matches);
            rules.extend(matches.into_iter().map(|(path, conditions)| Rule {
                hosts: hosts.clone(),
                path,
                conditions,
                route: route.clone(),
            }));
        }
        let table = RouteTable::build(rules);
        // Where a condition is at fault, the match seems to take more than it will.
        if !self.report.has_errors() {
            self.report_shadows(&table, &marks);
        }
        table
    }

    /// What a route is where the `layers` hold.
    fn route(
        &mut self,
        at: &At<RouteDoc>,
        (names, defined): (&Names<'_>, &Defined<'_>),
        layers: &[&DefaultsDoc],
    ) -> Route {
        let doc = &at.value;
        let settings = Settings::of(doc, layers);
        let name = doc.name.given().map_or("", |name| &name.value);
        let owner = format!("route {}", quoted(name));
        let body_max = settings.request_body_max.given();
        let body_max = body_max.and_then(|at| self.report.check(at.mark, body_size(&at.value)));
        let mode = mode(settings.mode);
        let auth = settings.auth.given();
        let auth = auth.and_then(|auth| self.auth(auth, (names, defined), mode, &owner));
        let variables = Variables::of(doc);
        let (request_headers, response_headers) =
            self.headers(&settings, &variables, (names, defined), &owner);
        let action = self.action(at, &settings, (names, defined), &owner);
        let clusters = forward::clusters(doc, names, defined);
        Route {
            name: name.into(),
            origin: self.origin(&doc.name, at.mark),
            settings: self.settings(&settings),
            fingerprint: 0,
            admission: 0,
            plain_http: is_on(settings.plain_http),
            priority: forward::priority(&settings),
            on_reload: on_reload(settings.on_reload),
            access: self.access(&settings, (names, defined), (auth.as_ref(), mode), &owner),
            limits: self.limits(&settings, (names, defined), (auth.as_ref(), mode), &owner),
            auth,
            cors: self.cors(settings.cors),
            compression: self.compression(settings.compression),
            cache: self.cache(&settings, &action, (names, defined), &owner),
            request_headers,
            response_headers,
            request_timeout: self.duration_or_off(settings.request_timeout, TIMEOUT_BOUNDS),
            request_body_max: body_max.unwrap_or(BODY_BYTES),
            response_body_max: self.response_body_max(&settings),
            websocket: self.websocket(doc, &clusters),
            variants: Vec::new(),
            action,
        }
    }

    fn settings(&self, settings: &Settings<'_>) -> Vec<Setting> {
        let given = settings.given().into_iter();
        given
            .map(|(key, mark)| Setting {
                key,
                origin: self.at(mark),
            })
            .collect()
    }

    fn limits(
        &mut self,
        settings: &Settings<'_>,
        (names, defined): (&Names<'_>, &Defined<'_>),
        (auth, mode): (Option<&Auth>, Mode),
        owner: &str,
    ) -> Vec<LimitUse> {
        let mut limits: Vec<LimitUse> = Vec::new();
        for reference in items(settings.limits) {
            let Some(position) = self.find(reference, &names.limits, owner) else {
                continue;
            };
            let limit = defined.limits.get(position);
            let key = limit.map(|limit| &limit.key);
            let has_claims = auth.is_some_and(Auth::has_claims);
            if !has_claims && matches!(key, Some(LimitKey::Claim(_))) {
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
            if limits.iter().any(|limit| limit.id == LimitId(position)) {
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
                limits.push(LimitUse {
                    id: LimitId(position),
                    mode: mode.or(limit.map_or(Mode::Enforce, |limit| limit.mode)),
                });
            }
        }
        limits
    }
}

fn on_reload(field: &Field<OnReloadDoc>) -> OnReload {
    match field.given().map(|at| at.value) {
        None | Some(OnReloadDoc::Keep) => OnReload::Keep,
        Some(OnReloadDoc::Drain) => OnReload::Drain,
        Some(OnReloadDoc::Cut) => OnReload::Cut,
    }
}

pub(super) fn mode(field: &Field<ModeDoc>) -> Mode {
    match field.given().map(|at| at.value) {
        Some(ModeDoc::Shadow) => Mode::Shadow,
        Some(ModeDoc::Enforce) | None => Mode::Enforce,
    }
}

pub(super) fn is_on(field: &Field<bool>) -> bool {
    field.given().is_some_and(|at| at.value)
}

pub(super) fn body_size(text: &str) -> Result<u64, Fault> {
    let size = values::size(text)?;
    if size > BODY_BYTES_MAX {
        let message = format!("{} is more than `16GiB`", shown(text));
        return Err(Fault::new(codes::OUT_OF_RANGE, message));
    }
    Ok(size)
}
