//! Lints: what compiles, and is hardly what was meant. Only what is certain is reported.

use std::collections::BTreeMap;
use std::time::Duration;

use super::defaults::Inheritance;
use super::forward::clusters;
use super::routes::{Defined, Names};
use super::{Compiler, Index, hosts, quoted, values};
use crate::codes;
use crate::diagnostic::{Fault, Mark, shown};
use crate::document::{ClusterDoc, RouteDoc, Settings};
use crate::field::{At, Either, Field, items};
use crate::hosts::HostTable;
use crate::routing::HostMatch;

impl Compiler<'_> {
    pub(super) fn lint(
        &mut self,
        (routes, hosts): (&[&At<RouteDoc>], &HostTable),
        (names, defined): (&Names<'_>, &Defined<'_>),
        inheritance: &Inheritance<'_>,
    ) {
        // What is at fault may be why something looks unused.
        if self.report.has_errors() {
            return;
        }
        self.unused([
            &names.clusters,
            &names.issuers,
            &names.limits,
            &names.api_keys,
            &names.access,
            &names.caches,
            &names.header_sets,
        ]);
        self.unused_address_sets();
        for route in routes {
            self.lint_route(route, (names, defined), inheritance);
        }
        self.lint_certificates(routes, hosts);
        self.lint_read_timeouts(routes, (names, defined), inheritance);
    }

    /// Definitions that nothing refers to.
    fn unused<'i>(&mut self, indices: impl IntoIterator<Item = &'i Index<'i>>) {
        for index in indices {
            let used = index.used.borrow();
            for (name, position) in &index.positions {
                let mark = index.marks.get(position);
                let Some(mark) = mark.filter(|_| !used.contains(position)) else {
                    continue;
                };
                let message = format!("nothing uses {} {}", index.kind, quoted(name));
                let fault = Fault::warning(codes::UNUSED, message);
                self.report
                    .push(*mark, fault.hint("remove it, or refer to it"));
            }
        }
    }

    fn lint_route(
        &mut self,
        at: &At<RouteDoc>,
        (names, defined): (&Names<'_>, &Defined<'_>),
        inheritance: &Inheritance<'_>,
    ) {
        let settings = Settings::of(&at.value, inheritance.everywhere());
        self.lint_plain_tokens(&settings);
        self.lint_backends(&at.value);
        let clusters = clusters(&at.value, names, defined);
        self.lint_connect(&settings, &clusters);
        self.lint_websocket(&at.value);
    }

    /// A token in plain text is everybody's.
    fn lint_plain_tokens(&mut self, settings: &Settings<'_>) {
        let asks = settings
            .auth
            .given()
            .is_some_and(|auth| matches!(auth.value, Either::Full(_)));
        if let Some(plain) = settings.plain_http.given()
            && plain.value
            && asks
        {
            let message = "`plain_http: true` on a route with `auth`: credentials cross the network in plain text";
            let fault = Fault::warning(codes::TOKEN_IN_PLAIN_TEXT, message);
            self.report.push(
                plain.mark,
                fault.hint("leave `plain_http` out; clients are redirected to https"),
            );
        }
    }

    fn lint_backends(&mut self, route: &RouteDoc) {
        for backend in items(&route.backends) {
            let weight = backend.value.weight.given();
            if let Some(weight) = weight.filter(|weight| weight.value == 0) {
                let cluster = backend.value.cluster.given();
                let name = cluster.map_or("", |cluster| &cluster.value);
                let message = format!("cluster {} gets none of the requests", quoted(name));
                let fault = Fault::warning(codes::UNREACHABLE_BACKEND, message);
                self.report.push(
                    weight.mark,
                    fault.hint("give it a weight, or leave the backend out"),
                );
            }
        }
    }

    /// Where connecting alone may take longer than the whole request, its own bound never ends it.
    fn lint_connect(&mut self, settings: &Settings<'_>, clusters: &[&At<ClusterDoc>]) {
        let Some((whole, mark)) = duration(settings.request_timeout) else {
            return;
        };
        for cluster in clusters {
            let timeouts = cluster.value.timeouts.given();
            let connect = timeouts.and_then(|timeouts| duration(&timeouts.value.connect));
            if let Some((connect, at)) = connect.filter(|(connect, _)| *connect >= whole) {
                let message = format!(
                    "`request_timeout` {} ends before the cluster's `connect` {} at {}",
                    shown(&values::written(whole)),
                    shown(&values::written(connect)),
                    self.place(at)
                );
                let fault = Fault::warning(codes::TIMEOUT_WITHOUT_EFFECT, message);
                self.report.push(
                    mark,
                    fault.hint("a request that waits for a connection gets no other try"),
                );
            }
        }
    }

    fn lint_websocket(&mut self, route: &RouteDoc) {
        let Some(websocket) = route.websocket.given() else {
            return;
        };
        let doc = &websocket.value;
        let (Some((idle, mark)), Some((lifetime, _))) =
            (duration(&doc.idle_timeout), duration(&doc.lifetime))
        else {
            return;
        };
        if idle > lifetime {
            let message =
                "`idle_timeout` is longer than `lifetime`, which ends the connection first";
            self.report
                .push(mark, Fault::warning(codes::TIMEOUT_WITHOUT_EFFECT, message));
        }
    }

    /// A cluster's `read` that every one of its routes is shorter than.
    fn lint_read_timeouts(
        &mut self,
        routes: &[&At<RouteDoc>],
        (names, defined): (&Names<'_>, &Defined<'_>),
        inheritance: &Inheritance<'_>,
    ) {
        let mut longest: BTreeMap<Mark, (Duration, Option<Duration>)> = BTreeMap::new();
        for route in routes {
            let whole =
                duration(Settings::of(&route.value, inheritance.everywhere()).request_timeout);
            for cluster in clusters(&route.value, names, defined) {
                let timeouts = cluster.value.timeouts.given();
                let read = timeouts.and_then(|timeouts| duration(&timeouts.value.read));
                let Some((read, mark)) = read else { continue };
                let whole = whole.map(|(whole, _)| whole);
                let entry = longest.entry(mark).or_insert((read, Some(Duration::ZERO)));
                // A route without a bound waits for as long as the cluster lets it.
                entry.1 = entry.1.and_then(|longest| Some(longest.max(whole?)));
            }
        }
        for (mark, (read, longest)) in longest {
            let Some(longest) = longest.filter(|longest| *longest < read) else {
                continue;
            };
            let message = format!(
                "`read` never takes effect: no route to the cluster takes longer than {}",
                shown(&values::written(longest))
            );
            let fault = Fault::warning(codes::TIMEOUT_WITHOUT_EFFECT, message);
            let hint = format!("make it shorter than {}", values::written(longest));
            self.report.push(mark, fault.hint(hint));
        }
    }

    /// A route on a host that asks for client certificates, and on one that does not.
    fn lint_certificates(&mut self, routes: &[&At<RouteDoc>], table: &HostTable) {
        for route in routes {
            let mut guarded = None;
            let mut open = None;
            for written in items(&route.value.hosts) {
                let name = match hosts::host(&written.value) {
                    Ok(HostMatch::Exact(name)) => name,
                    // Some host below it; the entry of the wildcard itself judges most of them.
                    Ok(HostMatch::Wildcard(suffix)) => format!("any{suffix}"),
                    _ => continue,
                };
                let clients = table.find(&name).client_certificates.as_ref();
                if clients.is_some_and(|clients| clients.required) {
                    guarded.get_or_insert(written);
                } else {
                    open.get_or_insert(written);
                }
            }
            if let (Some(guarded), Some(open)) = (guarded, open) {
                let message = format!(
                    "the route is served on {}, whose clients show a certificate, and here without one",
                    shown(&guarded.value)
                );
                let fault = Fault::warning(codes::WITHOUT_CERTIFICATE, message);
                self.report.push(
                    open.mark,
                    fault.hint("split the route, or ask for `auth: { client_certificate: {} }`"),
                );
            }
        }
    }
}

fn duration(field: &Field<String>) -> Option<(Duration, Mark)> {
    let at = field.given()?;
    Some((values::duration(&at.value).ok()?, at.mark))
}
