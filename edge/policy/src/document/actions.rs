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
    /// Of these, `timeout` (an endpoint that is silent for too long) and `504`; a gRPC call that
    /// ends with UNAVAILABLE at once counts as `503`.
    ///
    /// list of `connect_failure` `reset` `timeout` `502` `503` `504`; `connect_failure`, `reset`,
    /// `502`, `503`
    pub(crate) on: List<RetryOnDoc>,
    /// That may be repeated, and no other; gRPC calls are POST.
    ///
    /// list of methods; those of RFC 9110, 9.2.2
    pub(crate) methods: List<String>,
    /// Longest silence of an endpoint within one try, before its answer and in it; not longer than
    /// `request_timeout`.
    ///
    /// duration, 1ms to 1d; `timeouts` of the cluster
    pub(crate) per_try_timeout: Field<String>,
    /// Most that is waited before the first of them, by chance less; doubled for each after it.
    ///
    /// duration, 0s to 10s; `25ms`
    pub(crate) backoff: Field<String>,
    /// Retries at once, in percent of the cluster's requests under way on routes with a budget;
    /// three are always allowed; `100` is no bound.
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
    /// None of the route's own; with `translate` it has `descriptors` or `reflection`, too.
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
    /// Takes its place; the query is kept.
    ///
    /// text; the request's
    pub(crate) path: Field<String>,
    /// As in `redirect`; `/` takes the prefix off.
    ///
    /// text; as requested
    pub(crate) prefix: Field<String>,
    /// `host` upstream; `x-forwarded-host` keeps the request's.
    ///
    /// host; the request's
    pub(crate) host: Field<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RedirectDoc {
    /// 301 and 308 are remembered by browsers for ever and can't be taken back; 307 and 308 keep
    /// method and body.
    ///
    /// 301, 302, 303, 307 or 308; `302`
    pub(crate) status: Field<u64>,
    /// Of the new address.
    ///
    /// `http` `https`; the request's
    pub(crate) scheme: Field<String>,
    /// Of the new address.
    ///
    /// host; the request's
    pub(crate) host: Field<String>,
    /// Of the new address.
    ///
    /// 1 to 65,535; the request's; with `scheme` that scheme's own
    pub(crate) port: Field<u64>,
    /// Takes its place; the query is kept in any case.
    ///
    /// text; the request's
    pub(crate) path: Field<String>,
    /// Takes the place of the prefix that matched; every match is by `prefix`.
    ///
    /// text; as requested
    pub(crate) prefix: Field<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RespondDoc {
    /// Of the answer.
    ///
    /// 200 to 599; `200`
    pub(crate) status: Field<u64>,
    /// Of `body` or `file`.
    ///
    /// text; `text/plain; charset=utf-8`
    pub(crate) content_type: Field<String>,
    /// Not with 204, 205 and 304.
    ///
    /// text; none
    pub(crate) body: Field<String>,
    /// Instead of `body`, at most 1MiB; read again when it changes.
    ///
    /// path; none
    pub(crate) file: Field<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CorsDoc {
    /// `https://app.example.com`, `https://*.example.com` (whole labels, one or more), compared
    /// byte by byte; or `["*"]`. Other than `*`, answers `vary` by `origin`.
    ///
    /// list of origins; required
    pub(crate) origins: List<String>,
    /// That pages may use.
    ///
    /// list of methods; those that the route takes
    pub(crate) methods: List<String>,
    /// Fields that pages may send.
    ///
    /// list of header names; what the page asks for
    pub(crate) headers: List<String>,
    /// Fields of answers that pages may read.
    ///
    /// list of header names; what browsers always show
    pub(crate) expose_headers: List<String>,
    /// Cookies and the like; not with `*`.
    ///
    /// boolean; `false`
    pub(crate) credentials: Field<bool>,
    /// How long browsers may remember a preflight.
    ///
    /// duration; `10m`
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
    /// duration, 1s to 30d; answers that name no freshness are not kept
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
    /// As `request_headers` and `response_headers` of routes.
    ///
    /// map; none, one at least
    pub(crate) request: Field<HeaderEditsDoc>,
    /// As `request_headers` and `response_headers` of routes.
    ///
    /// map; none, one at least
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
