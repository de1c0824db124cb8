//! Clusters, as written.

use serde::Deserialize;

use crate::field::{Either, Field, List};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClusterDoc {
    pub(crate) name: Field<String>,
    pub(crate) endpoints: List<String>,
    pub(crate) protocol: Field<ProtocolDoc>,
    pub(crate) tls: Field<TlsDoc>,
    pub(crate) timeouts: Field<TimeoutsDoc>,
    pub(crate) connect_retries: Field<u64>,
    pub(crate) ejection: Field<Either<EjectionDoc>>,
    pub(crate) descriptors: Field<String>,
    pub(crate) unknown_json_fields: Field<UnknownFieldsDoc>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProtocolDoc {
    Http1,
    Http2,
    Grpc,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnknownFieldsDoc {
    Refuse,
    Ignore,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsDoc {
    pub(crate) server_name: Field<String>,
    pub(crate) ca: Field<String>,
    pub(crate) certificate: Field<String>,
    pub(crate) key: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TimeoutsDoc {
    pub(crate) connect: Field<String>,
    pub(crate) read: Field<String>,
    pub(crate) write: Field<String>,
    pub(crate) idle: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EjectionDoc {
    pub(crate) consecutive_failures: Field<u64>,
    pub(crate) duration: Field<String>,
}
