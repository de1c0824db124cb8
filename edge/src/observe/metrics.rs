//! Every metric in one table: name, labels, help.
//!
//! Names follow OpenTelemetry's HTTP conventions where they have one. Labels hold names from
//! policies and fixed words, never anything a client can choose: cardinality stays bounded.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use palisade_acme::Outcome;
use palisade_policy::Status;
use palisade_policy::model::Mode;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::listen::{Listener, Observer};
use crate::stages::rate_limit::Quotas;
use crate::stages::shadow::Shadowed;

/// Seconds; the buckets of the OpenTelemetry HTTP conventions.
const DURATION_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// All instruments of the edge, in a registry of their own.
pub struct Metrics {
    registry: Registry,
    pub request_duration: HistogramVec,
    pub upstream_duration: HistogramVec,
    pub requests_in_flight: IntGauge,
    pub rejections: IntCounterVec,
    pub calls: IntCounterVec,
    pub shadow_refusals: IntCounterVec,
    pub tunnels_open: IntGaugeVec,
    pub tunnels_ended: IntCounterVec,
    pub limit_decisions: IntCounterVec,
    pub cache_lookups: IntCounterVec,
    pub upstream_retries: IntCounterVec,
    pub upstream_retries_refused: IntCounterVec,
    pub mirror_requests: IntCounterVec,
    pub upstream_ejections: IntCounterVec,
    pub connections_open: IntGaugeVec,
    pub connections_refused: IntCounterVec,
    pub quic_retries: IntCounter,
    pub datagrams_relayed: IntCounterVec,
    pub process_generation: IntGauge,
    pub policy_reloads: IntCounterVec,
    pub policy_last_success: IntGauge,
    pub policy_info: IntGaugeVec,
    pub policy_files_held: IntGauge,
    pub policy_tombstones: IntGauge,
    pub streams_recalled: IntCounterVec,
    pub certificate_not_after: IntGaugeVec,
    pub certificate_errors: IntCounter,
    pub acme_orders: IntCounterVec,
    pub jwks_age: IntGaugeVec,
    pub jwks_keys: IntGaugeVec,
    pub revocations_age: IntGaugeVec,
    pub revocations_connected: IntGaugeVec,
    pub revocations_entries: IntGaugeVec,
    pub reflection_age: IntGaugeVec,
    pub reflection_services: IntGaugeVec,
    pub reflection_failures: IntGaugeVec,
    pub endpoint_up: IntGaugeVec,
    pub limit_keys: IntGaugeVec,
    pub cache_bytes: IntGauge,
    pub cache_entries: IntGauge,
    pub access_log_dropped: IntCounter,
}

impl Metrics {
    /// Fails only on a name used twice.
    #[allow(clippy::too_many_lines, reason = "a table, one metric after the other")]
    pub fn new() -> prometheus::Result<Self> {
        let table = Table(Registry::new());
        Ok(Self {
            request_duration: table.histogram(
                "http_server_request_duration_seconds",
                "From the end of the request head to the end of the response",
                &[
                    "http_request_method",
                    "http_route",
                    "http_response_status_code",
                    "url_scheme",
                    "network_protocol_version",
                    "error_type",
                ],
            )?,
            upstream_duration: table.histogram(
                "http_client_request_duration_seconds",
                "From sending the request to an endpoint to the first byte of its answer",
                &["cluster", "http_response_status_code"],
            )?,
            requests_in_flight: table
                .gauge("palisade_requests_in_flight", "Requests being worked on")?,
            rejections: table.counters(
                "palisade_rejections_total",
                "Answers made by the edge itself, by reason",
                &["http_route", "reason"],
            )?,
            calls: table.counters(
                "palisade_calls_total",
                "Calls in gRPC, gRPC-Web and Connect, by status where the edge saw it",
                &["http_route", "dialect", "grpc_status"],
            )?,
            shadow_refusals: table.counters(
                "palisade_shadow_refusals_total",
                "Requests that a rule in shadow would have refused, by reason",
                &["http_route", "reason"],
            )?,
            tunnels_open: table.gauges(
                "palisade_tunnels_open",
                "WebSocket connections",
                &["http_route"],
            )?,
            tunnels_ended: table.counters(
                "palisade_tunnels_ended_total",
                "WebSocket connections that ended, by reason",
                &["http_route", "reason"],
            )?,
            limit_decisions: table.counters(
                "palisade_limit_decisions_total",
                "Outcome of each rate limit",
                &["limit", "outcome"],
            )?,
            cache_lookups: table.counters(
                "palisade_cache_lookups_total",
                "Outcome of cache look-ups",
                &["http_route", "outcome"],
            )?,
            upstream_retries: table.counters(
                "palisade_upstream_retries_total",
                "Tries after the first, by what the one before ended with",
                &["cluster", "reason"],
            )?,
            upstream_retries_refused: table.counters(
                "palisade_upstream_retries_refused_total",
                "Tries that the retry budget did not allow",
                &["cluster"],
            )?,
            mirror_requests: table.counters(
                "palisade_mirror_requests_total",
                "Requests that a mirror was to get a copy of, by outcome",
                &["cluster", "outcome"],
            )?,
            upstream_ejections: table.counters(
                "palisade_upstream_ejections_total",
                "Endpoints left out for a while after failures in a row",
                &["cluster"],
            )?,
            connections_open: table.gauges(
                "palisade_connections_open",
                "Downstream connections",
                &["listener"],
            )?,
            connections_refused: table.counters(
                "palisade_connections_refused_total",
                "Connections and streams closed by a bound or before a request was judged",
                &["reason"],
            )?,
            quic_retries: table.counter(
                "palisade_quic_retries_total",
                "QUIC clients asked to prove their address before their handshake",
            )?,
            datagrams_relayed: table.counters(
                "palisade_quic_relayed_total",
                "QUIC datagrams, or several received together, for a process being replaced, by result",
                &["result"],
            )?,
            process_generation: table.gauge(
                "palisade_process_generation",
                "Number of this process in the row of those that replaced each other",
            )?,
            policy_reloads: table.counters(
                "palisade_policy_reloads_total",
                "Changes of the policy files, by result",
                &["result"],
            )?,
            policy_last_success: table.gauge(
                "palisade_policy_last_reload_success_timestamp_seconds",
                "When the policy in force was loaded",
            )?,
            policy_files_held: table.gauge(
                "palisade_policy_files_held",
                "Policy files at fault, in force as they last were good",
            )?,
            policy_tombstones: table.gauge(
                "palisade_policy_tombstones",
                "Routes at fault, which answer 503",
            )?,
            streams_recalled: table.counters(
                "palisade_streams_recalled_total",
                "Requests under way whose route or credential went away, by what the route says about it",
                &["http_route", "on_reload"],
            )?,
            policy_info: table.gauges(
                "palisade_policy_info",
                "The policy in force; the value is its generation",
                &["hash"],
            )?,
            certificate_not_after: table.gauges(
                "palisade_certificate_not_after_timestamp_seconds",
                "Expiry of each server certificate, client authority and revocation list",
                &["file"],
            )?,
            certificate_errors: table.counter(
                "palisade_certificate_errors_total",
                "Certificate files that could not replace those in force",
            )?,
            acme_orders: table.counters(
                "palisade_acme_orders_total",
                "Certificates ordered by ACME, by result",
                &["result"],
            )?,
            jwks_age: table.gauges(
                "palisade_jwks_age_seconds",
                "Time since an issuer's keys were last fetched",
                &["issuer"],
            )?,
            jwks_keys: table.gauges(
                "palisade_jwks_keys",
                "Usable keys of an issuer",
                &["issuer"],
            )?,
            revocations_age: table.gauges(
                "palisade_revocations_age_seconds",
                "Since a cluster last said which tokens are dead, or that nothing has changed",
                &["cluster"],
            )?,
            revocations_connected: table.gauges(
                "palisade_revocations_connected",
                "Whether a cluster's revocations are being heard",
                &["cluster"],
            )?,
            revocations_entries: table.gauges(
                "palisade_revocations_entries",
                "Sessions, API keys and users whose tokens are dead",
                &["cluster"],
            )?,
            endpoint_up: table.gauges(
                "palisade_endpoint_up",
                "1 while an endpoint is in use, 0 while it is ejected",
                &["cluster", "endpoint"],
            )?,
            reflection_age: table.gauges(
                "palisade_reflection_age_seconds",
                "Time since a cluster's descriptors were last told by its endpoints",
                &["cluster"],
            )?,
            reflection_services: table.gauges(
                "palisade_reflection_services",
                "Services in a cluster's descriptors",
                &["cluster"],
            )?,
            reflection_failures: table.gauges(
                "palisade_reflection_failures",
                "Attempts to get a cluster's descriptors that failed since the last good one",
                &["cluster"],
            )?,
            limit_keys: table.gauges(
                "palisade_limit_keys",
                "Keys a rate limit tracks now",
                &["limit"],
            )?,
            cache_bytes: table.gauge("palisade_cache_bytes", "Bytes held by the response cache")?,
            cache_entries: table.gauge(
                "palisade_cache_entries",
                "Responses held by the response cache",
            )?,
            access_log_dropped: table.counter(
                "palisade_access_log_dropped_total",
                "Access log lines that found the queue full",
            )?,
            registry: table.0,
        })
    }

    /// Prometheus text format.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    pub fn tunnel_opened(&self, route: &str) {
        self.tunnels_open.with_label_values(&[route]).inc();
    }

    pub fn tunnel_ended(&self, route: &str, reason: &str) {
        self.tunnels_open.with_label_values(&[route]).dec();
        self.tunnels_ended.with_label_values(&[route, reason]).inc();
    }

    /// What the limits of an admitted request said.
    pub fn limits(&self, quotas: &Quotas) {
        for state in &quotas.states {
            let outcome = match (state.refused, state.mode) {
                (false, _) => "allow",
                (true, Mode::Enforce) => "deny",
                (true, Mode::Shadow) => "shadow_deny",
            };
            self.limit_decisions
                .with_label_values(&[&*state.name, outcome])
                .inc();
        }
    }

    /// What rules in shadow would have refused.
    pub fn shadowed(&self, route: &str, shadowed: &[Shadowed]) {
        for refusal in shadowed {
            self.shadow_refusals
                .with_label_values(&[route, refusal.code])
                .inc();
        }
    }

    /// The first byte of an endpoint's answer.
    pub fn upstream_answered(&self, cluster: &str, status: StatusCode, first_byte: Duration) {
        self.upstream_duration
            .with_label_values(&[cluster, status.as_str()])
            .observe(first_byte.as_secs_f64());
    }

    /// The record of reloads, after it changed.
    pub fn policy(&self, status: &Status) {
        let results = [
            ("success", status.reloads_ok),
            ("failure", status.reloads_failed),
        ];
        for (result, total) in results {
            let counter = self.policy_reloads.with_label_values(&[result]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.policy_files_held.set(whole(status.held.len()));
        self.policy_tombstones.set(whole(status.tombstones.len()));
        let since = status
            .loaded_at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.policy_last_success
            .set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    }

    /// The end of an order for a certificate.
    pub fn acme_order(&self, outcome: Outcome) {
        let result = match outcome {
            Outcome::Success => "success",
            Outcome::Failure => "failure",
        };
        self.acme_orders.with_label_values(&[result]).inc();
    }

    /// A finished request.
    pub fn request(&self, labels: &[&str; 6], duration: Duration) {
        self.request_duration
            .with_label_values(labels)
            .observe(duration.as_secs_f64());
    }
}

struct Table(Registry);

impl Table {
    fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        let vec = HistogramVec::new(options, labels)?;
        self.0.register(Box::new(vec.clone()))?;
        Ok(vec)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(vec.clone()))?;
        Ok(vec)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        let counter = IntCounter::new(name, help)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(vec.clone()))?;
        Ok(vec)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        let gauge = IntGauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }
}

/// Counts down when dropped.
struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Observer for Metrics {
    fn connection_opened(&self, listener: Listener) -> Box<dyn Send + Sync> {
        let name = match listener {
            Listener::Http => "http",
            Listener::Https => "https",
            Listener::Http3 => "h3",
        };
        let gauge = self.connections_open.with_label_values(&[name]);
        gauge.inc();
        Box::new(OpenConnection(gauge))
    }

    fn connection_refused(&self, reason: &'static str) {
        self.connections_refused.with_label_values(&[reason]).inc();
    }

    fn address_asked(&self) {
        self.quic_retries.inc();
    }

    fn datagrams_relayed(&self, delivered: bool) {
        let result = if delivered { "delivered" } else { "lost" };
        self.datagrams_relayed.with_label_values(&[result]).inc();
    }
}
