//! The language as it is written: one type for each map, one field for each key.
//!
//! Nothing is resolved or interpreted here; defaults are the compiler's. A key that is not a
//! field here is an error.

mod actions;
mod api;
mod auth;
mod clusters;
mod compression;
mod hosts;
mod issuers;
mod limits;
mod listeners;
mod matches;
mod routes;
mod tests;
mod translation;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::diagnostic::Mark;
use crate::field::{At, Field, List};

pub(crate) use actions::*;
pub(crate) use api::*;
pub(crate) use auth::*;
pub(crate) use clusters::*;
pub(crate) use compression::*;
pub(crate) use hosts::*;
pub(crate) use issuers::*;
pub(crate) use limits::*;
pub(crate) use listeners::*;
pub(crate) use matches::*;
pub(crate) use routes::*;
pub(crate) use tests::*;
pub(crate) use translation::*;

/// One file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Document {
    /// Of the language; every file begins with it.
    ///
    /// `1`; required
    pub(crate) version: Field<u64>,
    /// Variables of the environment that may stand in any value as `${NAME}`.
    ///
    /// list of maps; none
    pub(crate) environment: List<EnvironmentDoc>,
    /// Bounds on clients, and whose word about them is taken; once over all files.
    ///
    /// map; see its keys
    pub(crate) listeners: Field<ListenersDoc>,
    /// What routes have that do not say otherwise; once over all files.
    ///
    /// map; none
    pub(crate) defaults: Field<DefaultsDoc>,
    /// Where requests go.
    ///
    /// list of maps; none
    pub(crate) clusters: List<ClusterDoc>,
    /// Whose tokens are believed.
    ///
    /// list of maps; none
    pub(crate) issuers: List<IssuerDoc>,
    /// Sets of API keys.
    ///
    /// list of maps; none
    pub(crate) api_keys: List<ApiKeysDoc>,
    /// Sets of client addresses.
    ///
    /// list of maps; none
    pub(crate) address_sets: List<AddressSetDoc>,
    /// Rules about callers and requests.
    ///
    /// list of maps; none
    pub(crate) access: List<AccessDoc>,
    /// How often.
    ///
    /// list of maps; none
    pub(crate) limits: List<LimitDoc>,
    /// Cache rules with a name.
    ///
    /// list of maps; none
    pub(crate) caches: List<CacheDoc>,
    /// Edits of headers with a name.
    ///
    /// list of maps; none
    pub(crate) header_sets: List<HeaderSetDoc>,
    /// What connections for a host must prove, and what its answers carry.
    ///
    /// list of maps; none
    pub(crate) hosts: List<HostDoc>,
    /// Which requests go where, and who may send them.
    ///
    /// list of maps; none
    pub(crate) routes: List<RouteDoc>,
    /// Requests, and what is to become of them.
    ///
    /// list of maps; none
    pub(crate) tests: List<TestDoc>,
}

/// A variable of the environment that policies may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EnvironmentDoc {
    /// Letters, digits and `_`, no digit first, at most 128.
    ///
    /// text; required
    pub(crate) name: Field<String>,
    /// For when it is not set; without one that is an error.
    ///
    /// text; none
    pub(crate) default: Field<String>,
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

macro_rules! definitions {
    ($($list:ident: $document:ty),*) => {
        impl crate::decode::Versioned for Document {
    fn version(&self) -> &Field<u64> {
        &self.version
    }
}

impl Document {
            /// Kind and name of everything that others can refer to.
            pub(crate) fn names(&self) -> Vec<(&'static str, &str)> {
                let mut names = Vec::new();
                $(for at in crate::field::items(&self.$list) {
                    names.extend(at.value.name().given().map(|name| (<$document>::KIND, &*name.value)));
                })*
                names
            }

            /// Leave out the definitions at these places; routes stay, as tombstones.
            pub(crate) fn bury(&mut self, places: &std::collections::HashSet<Mark>) {
                $(if let Field::Given(list) = &mut self.$list {
                    list.value.retain(|item| {
                        item.given().is_none_or(|item| !places.contains(&item.mark))
                    });
                })*
            }

            /// The keys whose definitions can be left out: who refers to one is then at fault.
            pub(crate) const BURIABLE: &[&str] = &[$(stringify!($list)),*];
        }
    };
}

definitions!(
    clusters: ClusterDoc, issuers: IssuerDoc, api_keys: ApiKeysDoc, address_sets: AddressSetDoc,
    access: AccessDoc, limits: LimitDoc, caches: CacheDoc, header_sets: HeaderSetDoc
);
