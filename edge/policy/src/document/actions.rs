//! What is done with a request, as written.

use serde::Deserialize;

use crate::field::{Either, Entries, Field, List};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BackendDoc {
    pub(crate) cluster: Field<String>,
    pub(crate) weight: Field<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetriesDoc {
    pub(crate) attempts: Field<u64>,
    pub(crate) on: List<RetryOnDoc>,
    pub(crate) methods: List<String>,
    pub(crate) per_try_timeout: Field<String>,
    pub(crate) backoff: Field<String>,
    pub(crate) budget_percent: Field<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum RetryOnDoc {
    #[serde(rename = "connect_failure")]
    ConnectFailure,
    #[serde(rename = "reset")]
    Reset,
    #[serde(rename = "timeout")]
    Timeout,
    #[serde(rename = "502")]
    BadGateway,
    #[serde(rename = "503")]
    Unavailable,
    #[serde(rename = "504")]
    GatewayTimeout,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MirrorDoc {
    pub(crate) cluster: Field<String>,
    pub(crate) percent: Field<u64>,
    pub(crate) body_max: Field<String>,
}

/// Changes of the request's target; variables of the match in braces.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RewriteDoc {
    pub(crate) path: Field<String>,
    pub(crate) prefix: Field<String>,
    pub(crate) host: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RedirectDoc {
    pub(crate) status: Field<u64>,
    pub(crate) scheme: Field<String>,
    pub(crate) host: Field<String>,
    pub(crate) port: Field<u64>,
    pub(crate) path: Field<String>,
    pub(crate) prefix: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RespondDoc {
    pub(crate) status: Field<u64>,
    pub(crate) content_type: Field<String>,
    pub(crate) body: Field<String>,
    pub(crate) file: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CorsDoc {
    pub(crate) origins: List<String>,
    pub(crate) methods: List<String>,
    pub(crate) headers: List<String>,
    pub(crate) expose_headers: List<String>,
    pub(crate) credentials: Field<bool>,
    pub(crate) max_age: Field<String>,
}

/// A cache rule; with a name it can be used by several routes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CacheDoc {
    pub(crate) name: Field<String>,
    pub(crate) default_ttl: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WebSocketDoc {
    pub(crate) origins: List<String>,
    pub(crate) idle_timeout: Field<String>,
    pub(crate) lifetime: Field<String>,
    pub(crate) end_with_token: Field<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HeaderEditsDoc {
    pub(crate) remove: List<String>,
    pub(crate) set: Field<Entries<Either<HeaderValueDoc>>>,
    pub(crate) add: Field<Entries<Either<HeaderValueDoc>>>,
}

/// The value of a header that is no text for policies.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HeaderValueDoc {
    pub(crate) file: Field<String>,
}

/// Edits with a name, used by several routes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HeaderSetDoc {
    pub(crate) name: Field<String>,
    pub(crate) request: Field<HeaderEditsDoc>,
    pub(crate) response: Field<HeaderEditsDoc>,
}

/// Who is served last when the edge has too much to do: from `critical`, which is shed last, to `low`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PriorityDoc {
    Critical,
    High,
    Normal,
    Low,
}

/// What becomes of streams under way when their own route or credential goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnReloadDoc {
    Keep,
    Drain,
    Cut,
}
