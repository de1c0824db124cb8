//! The language as it is written: one type for each map, one field for each key.
//!
//! Nothing is resolved or interpreted here; defaults are the compiler's. A key that is not a
//! field here is an error.

mod actions;
mod auth;
mod clusters;
mod hosts;
mod issuers;
mod limits;
mod listeners;
mod matches;
mod routes;
mod tests;

use serde::Deserialize;

use crate::field::{At, Field, List};

pub(crate) use actions::*;
pub(crate) use auth::*;
pub(crate) use clusters::*;
pub(crate) use hosts::*;
pub(crate) use issuers::*;
pub(crate) use limits::*;
pub(crate) use listeners::*;
pub(crate) use matches::*;
pub(crate) use routes::*;
pub(crate) use tests::*;

/// One file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) version: Field<u64>,
    pub(crate) listeners: Field<ListenersDoc>,
    pub(crate) defaults: Field<DefaultsDoc>,
    pub(crate) clusters: List<ClusterDoc>,
    pub(crate) issuers: List<IssuerDoc>,
    pub(crate) api_keys: List<ApiKeysDoc>,
    pub(crate) address_sets: List<AddressSetDoc>,
    pub(crate) access: List<AccessDoc>,
    pub(crate) limits: List<LimitDoc>,
    pub(crate) caches: List<CacheDoc>,
    pub(crate) header_sets: List<HeaderSetDoc>,
    pub(crate) hosts: List<HostDoc>,
    pub(crate) routes: List<RouteDoc>,
    pub(crate) tests: List<TestDoc>,
}

/// What is looked up by its name.
pub(crate) trait Named {
    /// As messages call it.
    const KIND: &'static str;

    fn name(&self) -> &Field<String>;
}

macro_rules! named {
    ($($document:ty => $kind:literal),*) => {$(
        impl Named for $document {
            const KIND: &'static str = $kind;

            fn name(&self) -> &Field<String> {
                &self.name
            }
        }
    )*};
}

named!(
    ClusterDoc => "cluster", IssuerDoc => "issuer", LimitDoc => "limit", RouteDoc => "route",
    HostDoc => "host", ApiKeysDoc => "set of API keys", AccessDoc => "access rule",
    AddressSetDoc => "address set", HeaderSetDoc => "header set", CacheDoc => "cache",
    TestDoc => "test"
);

/// All definitions of one kind, in order of files and lines.
pub(crate) fn all<'d, T>(
    documents: &'d [Document],
    list: impl Fn(&'d Document) -> &'d List<T> + 'd,
) -> Vec<&'d At<T>> {
    documents
        .iter()
        .flat_map(move |document| crate::field::items(list(document)))
        .collect()
}
