//! The messages of `auth.v1.KeyService` that the edge exchanges
//! (`core-services/proto/proto/auth/v1/keys.proto`).

use prost::Message;
use prost_types::Timestamp;

pub(super) const WATCH_REVOCATIONS: &str = "/auth.v1.KeyService/WatchRevocations";

#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchRevocationsRequest {
    #[prost(int64, tag = "1")]
    pub(super) after: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Revocations {
    #[prost(int64, tag = "1")]
    pub(super) cursor: i64,
    #[prost(message, repeated, tag = "2")]
    pub(super) revocations: Vec<Revocation>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Revocation {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) id: String,
    #[prost(message, optional, tag = "3")]
    pub(super) at: Option<Timestamp>,
    #[prost(message, optional, tag = "4")]
    pub(super) until: Option<Timestamp>,
}

pub(super) const INTROSPECT: &str = "/auth.v1.KeyService/Introspect";

// Both hold what lets somebody in: neither is ever printed.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct IntrospectRequest {
    #[prost(string, tag = "1")]
    pub(super) token: String,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct IntrospectResponse {
    #[prost(bool, tag = "1")]
    pub(super) active: bool,
    #[prost(string, tag = "2")]
    pub(super) kind: String,
    #[prost(string, tag = "7")]
    pub(super) access_token: String,
    #[prost(message, optional, tag = "8")]
    pub(super) access_token_expires_at: Option<Timestamp>,
}
