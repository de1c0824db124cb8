//! An explanation in data: what `--format json` prints and the admin listener answers.

use serde::{Deserialize, Serialize};

/// `file:line` in the policies folder.
pub type Place = String;

/// All that is to be known about one request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Explanation {
    pub request: Seen,
    pub outcome: Outcome,
    /// In the order of the stages.
    pub stages: Vec<Step>,
    pub route: Option<Found>,
    /// Rules that came into question, in order of precedence.
    pub candidates: Vec<Candidate>,
    pub limits: Vec<LimitSeen>,
    pub cache: Option<CacheSeen>,
    pub upstream: Option<UpstreamSeen>,
    /// What the answer carries besides what an upstream says.
    pub response_headers: Vec<FieldChange>,
    /// The edge's own.
    pub answer: Option<OwnAnswer>,
    /// By a running edge: limits and endpoints are as they are now.
    pub live: bool,
}

/// The request as the stages read it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    pub method: String,
    /// With the canonical path.
    pub url: String,
    pub client: String,
    /// Trusted proxies between the client and the edge.
    pub proxies: Vec<String>,
    /// Fields that no client may send.
    pub removed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Forwarded {
        cluster: String,
    },
    Answered {
        status: u16,
        code: String,
        message: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Passed,
    /// Not asked for by this request or its route.
    Skipped,
    Refused,
    /// Would have refused, and only counts.
    Shadowed,
    NotReached,
}

/// One stage, and what it said.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    pub stage: String,
    pub verdict: Verdict,
    pub detail: String,
    pub at: Option<Place>,
}

/// The route that took the request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    pub name: String,
    pub at: Place,
    pub settings: Vec<SettingSeen>,
}

/// A setting that holds, and where it was written: at the route, or in what it inherits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SettingSeen {
    pub key: String,
    pub value: String,
    pub at: Place,
}

/// A rule that host and path lead to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Candidate {
    pub route: String,
    pub at: Place,
    pub rule: String,
    /// None for the one that took the request.
    pub lost: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LimitSeen {
    pub name: String,
    pub at: Place,
    /// What it counts by.
    pub by: String,
    /// For this request; credentials as a digest.
    pub key: String,
    pub shadow: bool,
    /// After this request; none where an earlier limit or stage refused.
    pub remaining: Option<u32>,
    /// Seconds until all is there again.
    pub reset_s: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CacheSeen {
    pub at: Place,
    pub key: String,
    /// Whether this request may be answered from it.
    pub used: bool,
    pub default_ttl: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpstreamSeen {
    pub cluster: String,
    pub at: Place,
    /// Whose turn it is; the next request may take it first.
    pub endpoint: Option<String>,
    pub protocol: String,
    /// Weights of all backends, where there are several.
    pub weights: Vec<(String, u32)>,
    /// REST by translation.
    pub translated: bool,
    pub method: String,
    pub path: String,
    pub host: String,
    pub headers: Vec<FieldChange>,
    pub timeouts: Vec<(String, String)>,
}

/// How a header block was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    pub change: Change,
    pub name: String,
    /// Empty for what was removed; values of credentials are left out.
    pub value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Added,
    Changed,
    Removed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}
