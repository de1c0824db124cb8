//! The compiled policy: what the stages read on the request path.
//!
//! Everything is parsed, resolved and sorted: names have become indices into the
//! vectors of `Policy`, strings have become header names, ranges and matchers.
//! Nothing here changes after compile, and nothing here holds run-time state.

mod actions;
mod auth;
mod clusters;
mod compression;
mod conditions;
mod limits;
mod listeners;
mod regexes;
mod routes;
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use palisade_token::IssuerSpec;

use crate::hosts::HostTable;
use crate::routing::RouteTable;

pub use actions::*;
pub use auth::*;
pub use clusters::*;
pub use compression::*;
pub use conditions::*;
pub use limits::*;
pub use listeners::*;
pub use regexes::*;
pub use routes::*;
pub use tests::*;

/// One immutable set of rules. A request reads exactly one from start to end.
#[derive(Debug)]
pub struct Policy {
    /// What clients may hold, and whose word about them is taken.
    pub listeners: Listeners,
    /// Routes by host, path and the rest, in order of precedence.
    pub routes: RouteTable,
    /// Named groups of endpoints; `ClusterId` is the position.
    pub clusters: Vec<Cluster>,
    /// Token issuers; `IssuerId` is the position.
    pub issuers: Vec<IssuerSpec>,
    /// Of the issuers that tell which of their tokens are dead.
    pub revocations: HashMap<IssuerId, Revocations>,
    /// `ApiKeysId` is the position.
    pub api_keys: Vec<ApiKeys>,
    /// `AccessId` is the position.
    pub access: Vec<AccessRule>,
    /// Rate limits; `LimitId` is the position.
    pub limits: Vec<Limit>,
    /// What handshakes and answers of each host need.
    pub hosts: HostTable,
    /// What all of this is to do with some requests.
    pub tests: Vec<TestCase>,
}

/// Position in `Policy::clusters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(pub usize);

/// Position in `Policy::issuers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IssuerId(pub usize);

/// Position in `Policy::limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitId(pub usize);

/// Position in `Policy::api_keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiKeysId(pub usize);

/// Position in `Policy::access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccessId(pub usize);

/// Where in the files a thing is defined: shown by errors and by `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Path relative to the policies folder.
    pub file: Arc<str>,
    /// 1-based line of the definition's `name`.
    pub line: u32,
}

/// Whether a rule refuses, or only counts and logs what it would have refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    Enforce,
    Shadow,
}

impl Mode {
    /// Shadow where one of the two is.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Enforce => other,
            Self::Shadow => self,
        }
    }
}
