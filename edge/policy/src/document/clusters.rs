//! Clusters, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::TranslationDoc;
use crate::field::{Either, Field, List};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClusterDoc {
    /// What routes call it.
    ///
    /// name; required
    pub(crate) name: Field<String>,
    /// `IP:port`, IPv6 in brackets; host names are not resolved.
    ///
    /// list of endpoints; required
    pub(crate) endpoints: List<String>,
    /// `http2` is by ALPN with TLS, by prior knowledge without; `grpc` is HTTP/2 whose errors are
    /// gRPC statuses.
    ///
    /// `http1` `http2` `grpc`; `http1`
    pub(crate) protocol: Field<ProtocolDoc>,
    /// How endpoints are verified, and what we show them.
    ///
    /// map; plain text
    pub(crate) tls: Field<TlsDoc>,
    /// How long endpoints may take over things.
    ///
    /// map; see its keys
    pub(crate) timeouts: Field<TimeoutsDoc>,
    /// Further tries after a connection could not be made.
    ///
    /// 0 to 8; `1`
    pub(crate) connect_retries: Field<u64>,
    /// Leaves out an endpoint that fails in a row.
    ///
    /// `off` or map; on
    pub(crate) ejection: Field<Either<EjectionDoc>>,
    /// Encoded `FileDescriptorSet` with its imports; makes `translate` possible; needs `protocol:
    /// grpc`.
    ///
    /// path; none
    pub(crate) descriptors: Field<String>,
    /// The endpoints are asked for the descriptors instead (gRPC server reflection); needs `protocol:
    /// grpc`.
    ///
    /// map; none
    pub(crate) reflection: Field<ReflectionDoc>,
    /// How `translate` shows the RPCs of the descriptors.
    ///
    /// map; see its keys
    pub(crate) translation: Field<TranslationDoc>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProtocolDoc {
    Http1,
    Http2,
    Grpc,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsDoc {
    /// What the endpoint's certificate is verified for.
    ///
    /// DNS name or IP; required
    pub(crate) server_name: Field<String>,
    /// PEM of the authorities; the system's are not used.
    ///
    /// path; required
    pub(crate) ca: Field<String>,
    /// Our own, PEM; together with `key`.
    ///
    /// path; none
    pub(crate) certificate: Field<String>,
    /// Of our own certificate, PEM; together with `certificate`.
    ///
    /// path; none
    pub(crate) key: Field<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TimeoutsDoc {
    /// TCP and TLS together.
    ///
    /// duration, 1ms to 1h; `2s`
    pub(crate) connect: Field<String>,
    /// Longest silence while a response is read.
    ///
    /// duration, 1ms to 1h; `30s`
    pub(crate) read: Field<String>,
    /// Longest stall while a request is written.
    ///
    /// duration, 1ms to 1h; `30s`
    pub(crate) write: Field<String>,
    /// How long an unused connection is kept.
    ///
    /// duration, 1ms to 1d; `60s`
    pub(crate) idle: Field<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReflectionDoc {
    /// How long it is until they are asked again.
    ///
    /// duration, 1s to 1d; `5m`
    pub(crate) refresh: Field<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EjectionDoc {
    /// Connect failures and 502, 503, 504 in a row.
    ///
    /// 1 to 1000; `5`
    pub(crate) consecutive_failures: Field<u64>,
    /// For how long.
    ///
    /// duration, 1ms to 1h; `10s`
    pub(crate) duration: Field<String>,
}
