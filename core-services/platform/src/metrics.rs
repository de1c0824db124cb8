//! Every metric the platform counts: name, labels, help, in one table.
//! Invariant: label values come from closed sets (mounted RPCs, gRPC codes), so
//! no caller can grow the number of series.
//! Refuses the process-wide default registry: a test owns its own.

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, process_collector::ProcessCollector,
};

/// OpenTelemetry's boundaries for request durations, in seconds.
const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The platform's metrics and the registry services add theirs to.
pub struct Metrics {
    registry: Registry,
    /// By method (`grpc`), route (`/package.Service/Rpc`), status_code (the gRPC
    /// code as a number, `0` is OK), service.
    pub requests: HistogramVec,
    /// Open connections by service: `core` for gRPC, `admin` for the admin listener.
    pub connections: IntGaugeVec,
    /// RPCs between their headers' arrival and the end of their answer.
    pub in_flight: IntGauge,
    /// RPCs refused before a handler saw them, by reason.
    pub refused: IntCounterVec,
    /// Reads through a cache by service, cache (the keys' prefix) and result: `local`,
    /// `shared` or `miss`.
    pub cache_lookups: IntCounterVec,
    /// Commands that Redis did not answer in time, by service and operation.
    pub cache_errors: IntCounterVec,
    /// Calls to other services.
    pub clients: ClientMetrics,
    /// Attempts at jobs by service, job_type (the kind), status (`done`, `retry`,
    /// `failed`, `lost`, `released`).
    pub jobs: IntCounterVec,
    /// Jobs that wait, by service.
    pub jobs_queued: IntGaugeVec,
    /// How long the longest due job has waited, by service.
    pub jobs_oldest_seconds: IntGaugeVec,
    /// Whether the last walk found the audit log whole, by service.
    pub audit_log_intact: IntGaugeVec,
    /// Whether what the process works with answers, by service and dependency, as in `/health`.
    pub dependency_up: IntGaugeVec,
}

/// What the calls to other services come to, by service called.
pub struct ClientMetrics {
    /// Each try, by gRPC code.
    pub calls: IntCounterVec,
    /// Second tries: `sent`, or why not (`no_budget`, `no_time`).
    pub retries: IntCounterVec,
    /// Circuit breakers: 0 closed, 1 half-open, 2 open.
    pub breaker: IntGaugeVec,
}

impl ClientMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            calls: counters(
                registry,
                ("rpc_client_calls_total", "Calls to other services."),
                &["target", "status_code"],
            )?,
            retries: counters(
                registry,
                ("rpc_client_retries_total", "Second tries, sent or not."),
                &["target", "result"],
            )?,
            breaker: gauges(
                registry,
                (
                    "circuit_breaker_state",
                    "0 closed, 1 half-open, 2 open, by service called.",
                ),
                &["target"],
            )?,
        })
    }
}

type Described<'a> = (&'a str, &'a str);

fn counters(
    registry: &Registry,
    (name, help): Described<'_>,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauges(
    registry: &Registry,
    (name, help): Described<'_>,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

impl Metrics {
    /// # Errors
    /// Never with these names; a clash of names would be a programming error.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name, help, labels: &[&str]| counters(&registry, (name, help), labels);
        let gauges = |name, help, labels: &[&str]| gauges(&registry, (name, help), labels);
        let requests = HistogramVec::new(
            HistogramOpts::new("http_request_duration_seconds", "Time to answer a call.")
                .buckets(SECONDS.to_vec()),
            &["method", "route", "status_code", "service"],
        )?;
        let in_flight = IntGauge::new("rpc_in_flight", "Calls being answered now.")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self {
            requests,
            in_flight,
            connections: gauges("active_connections", "Open connections.", &["service"])?,
            refused: counters(
                "rpc_refused_total",
                "Calls refused before a handler saw them.",
                &["reason"],
            )?,
            cache_lookups: counters(
                "cache_lookups_total",
                "Reads through a cache.",
                &["service", "cache", "result"],
            )?,
            cache_errors: counters(
                "cache_errors_total",
                "Commands that the shared cache did not carry out.",
                &["service", "operation"],
            )?,
            clients: ClientMetrics::new(&registry)?,
            jobs: counters(
                "background_jobs_total",
                "Attempts at background jobs.",
                &["service", "job_type", "status"],
            )?,
            jobs_queued: gauges(
                "background_jobs_queued",
                "Background jobs that wait.",
                &["service"],
            )?,
            jobs_oldest_seconds: gauges(
                "background_jobs_oldest_seconds",
                "How long the longest due background job has waited.",
                &["service"],
            )?,
            audit_log_intact: gauges(
                "audit_log_intact",
                "Whether the last daily walk found the audit log whole.",
                &["service"],
            )?,
            dependency_up: gauges(
                "dependency_up",
                "Whether what the process works with answers.",
                &["service", "dependency"],
            )?,
            registry,
        })
    }

    /// A gauge of a service's own.
    ///
    /// # Errors
    /// A name that is taken or malformed.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let gauge = IntGauge::new(name, help)?;
        self.registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    /// A family of gauges of a service's own.
    ///
    /// # Errors
    /// A name that is taken or malformed.
    pub fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        gauges(&self.registry, (name, help), labels)
    }

    /// A counter of a service's own.
    ///
    /// # Errors
    /// A name that is taken or malformed.
    pub fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        counters(&self.registry, (name, help), labels)
    }

    /// A histogram of seconds of a service's own.
    ///
    /// # Errors
    /// A name that is taken or malformed.
    pub fn seconds(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        let histogram =
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?;
        self.registry.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }

    /// All of it in the Prometheus text format 0.0.4.
    ///
    /// # Errors
    /// Inconsistent families, which `register` already refused.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// The re-exported types service crates name in their own structs.
pub use prometheus::{
    Histogram as HistogramOf, IntCounterVec as CounterOf, IntGauge as GaugeOf,
    IntGaugeVec as GaugesOf,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_names_are_kept() {
        let metrics = Metrics::new().unwrap();
        metrics
            .requests
            .with_label_values(&["grpc", "/auth.v1.AuthService/Login", "0", "identity"])
            .observe(0.01);
        metrics.connections.with_label_values(&["core"]).set(2);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(
            text.contains(r#"active_connections{service="core"} 2"#),
            "{text}"
        );
        assert!(
            text.contains(
                r#"http_request_duration_seconds_count{method="grpc",route="/auth.v1.AuthService/Login",service="identity",status_code="0"} 1"#
            ),
            "{text}"
        );
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }

    #[test]
    fn a_name_is_registered_once() {
        let metrics = Metrics::new().unwrap();
        assert!(metrics.gauge("queue_depth", "x").is_ok());
        assert!(metrics.gauge("queue_depth", "x").is_err());
    }
}
