//! What is done with a request, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::field::{Either, Entries, Field, List};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BackendDoc {
    /// Where this share of the requests goes.
    ///
    /// name; required
    pub(crate) cluster: Field<String>,
    /// In proportion to the sum over the route's backends.
    ///
    /// 0 to 1,000,000; `1`
    pub(crate) weight: Field<u64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetriesDoc {
    /// Further tries.
    ///
    /// 1 to 5; `1`
    pub(crate) attempts: Field<u64>,
    /// What is tried again.
    ///
    /// list of `connect_failure` `reset` `timeout` `502` `503` `504`; `connect_failure`, `reset`,
    /// `502`, `503`
    pub(crate) on: List<RetryOnDoc>,
    /// That may be repeated, and no other; gRPC calls are POST.
    ///
    /// list of methods; those of RFC 9110, 9.2.2
    pub(crate) methods: List<String>,
    /// Longest silence of an endpoint within one try.
    ///
    /// duration, 1ms to 1d; `timeouts` of the cluster
    pub(crate) per_try_timeout: Field<String>,
    /// Most that is waited before the first of them, doubled for each after it.
    ///
    /// duration, 0s to 10s; `25ms`
    pub(crate) backoff: Field<String>,
    /// Retries at once, in percent of the cluster's requests under way.
    ///
    /// 1 to 100; `20`
    pub(crate) budget_percent: Field<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
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

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MirrorDoc {
    /// None of the route's own.
    ///
    /// name; required
    pub(crate) cluster: Field<String>,
    /// Of the requests.
    ///
    /// 1 to 100; `100`
    pub(crate) percent: Field<u64>,
    /// Requests with larger bodies are not copied.
    ///
    /// size, 0 to 1MiB; `64KiB`
    pub(crate) body_max: Field<String>,
}

/// Changes of the request's target; variables of the match in braces.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RewriteDoc {
    /// The whole path; variables of the match in braces.
    ///
    /// text; as requested
    pub(crate) path: Field<String>,
    /// What takes the place of the prefix that the match matched.
    ///
    /// text; as requested
    pub(crate) prefix: Field<String>,
    /// The `host` that upstreams see.
    ///
    /// host; as requested
    pub(crate) host: Field<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RedirectDoc {
    /// Of the answer.
    ///
    /// 301, 302, 303, 307 or 308; `302`
    pub(crate) status: Field<u64>,
    /// Of the new address.
    ///
    /// `http` `https`; as requested
    pub(crate) scheme: Field<String>,
    /// Of the new address.
    ///
    /// host; as requested
    pub(crate) host: Field<String>,
    /// Of the new address.
    ///
    /// 1 to 65,535; as requested
    pub(crate) port: Field<u64>,
    /// The whole path of the new address; variables of the match in braces.
    ///
    /// text; as requested
    pub(crate) path: Field<String>,
    /// What takes the place of the prefix that the match matched.
    ///
    /// text; as requested
    pub(crate) prefix: Field<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RespondDoc {
    /// Of the answer.
    ///
    /// 200 to 599; required
    pub(crate) status: Field<u64>,
    /// Of the body.
    ///
    /// text; none
    pub(crate) content_type: Field<String>,
    /// Of the answer; this or `file`.
    ///
    /// text; empty
    pub(crate) body: Field<String>,
    /// The file that holds the body.
    ///
    /// path; none
    pub(crate) file: Field<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CorsDoc {
    /// `https://app.example.com`; compared byte by byte.
    ///
    /// list of origins; any
    pub(crate) origins: List<String>,
    /// That pages may use.
    ///
    /// list of methods; those of the route
    pub(crate) methods: List<String>,
    /// That pages may send.
    ///
    /// list of header names; what is asked for
    pub(crate) headers: List<String>,
    /// That pages may read.
    ///
    /// list of header names; none
    pub(crate) expose_headers: List<String>,
    /// Cookies and tokens of the browser are sent along.
    ///
    /// boolean; `false`
    pub(crate) credentials: Field<bool>,
    /// How long browsers may remember the answer.
    ///
    /// duration; `5m`
    pub(crate) max_age: Field<String>,
}

/// A cache rule; with a name it can be used by several routes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CacheDoc {
    /// What routes call it.
    ///
    /// name; required in `caches`
    pub(crate) name: Field<String>,
    /// Freshness of answers that name none; without it only answers that do are kept.
    ///
    /// duration, 1s to 30d; none
    pub(crate) default_ttl: Field<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WebSocketDoc {
    /// Web origins whose pages may connect, `https://app.example.com`, compared byte by byte;
    /// another one is answered 403; clients that send no `Origin` are not browsers and pass.
    ///
    /// list; any
    pub(crate) origins: List<String>,
    /// Longest silence in both directions together.
    ///
    /// duration, 1ms to 1d; `5m`
    pub(crate) idle_timeout: Field<String>,
    /// From the upgrade to the end.
    ///
    /// duration, 1ms to 30d; `1d`
    pub(crate) lifetime: Field<String>,
    /// Ends when the token expires, `leeway` included.
    ///
    /// boolean; `true`
    pub(crate) end_with_token: Field<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HeaderEditsDoc {
    /// Taken out first; at most 64.
    ///
    /// list of header names; none
    pub(crate) remove: List<String>,
    /// Replace what is there; at most 64.
    ///
    /// map of text or `{ file: … }`; none
    pub(crate) set: Field<Entries<Either<HeaderValueDoc>>>,
    /// Appended, last; at most 64.
    ///
    /// map of text or `{ file: … }`; none
    pub(crate) add: Field<Entries<Either<HeaderValueDoc>>>,
}

/// The value of a header that is no text for policies.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HeaderValueDoc {
    /// The file that holds the value, without the line break at its end; a secret that is never
    /// shown.
    ///
    /// path; required
    pub(crate) file: Field<String>,
}

/// Edits with a name, used by several routes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HeaderSetDoc {
    /// What routes call it.
    ///
    /// name; required
    pub(crate) name: Field<String>,
    /// Edits on the way upstream.
    ///
    /// map; none
    pub(crate) request: Field<HeaderEditsDoc>,
    /// Edits on the way downstream.
    ///
    /// map; none
    pub(crate) response: Field<HeaderEditsDoc>,
}

/// Who is served last when the edge has too much to do: from `critical`, which is shed last, to `low`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PriorityDoc {
    Critical,
    High,
    Normal,
    Low,
}

/// What becomes of streams under way when their own route or credential goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnReloadDoc {
    Keep,
    Drain,
    Cut,
}
