//! Which service may call which RPC: `access.yaml`.
//! Invariant: what is not written down may not be called, and everything written
//! down exists in the descriptors.
//! Refuses entries that say nothing: the edge needs none for what users may call.

use std::collections::{BTreeMap, BTreeSet};

use palisade_documents::{
    codes,
    decode::Versioned,
    diagnostic::{Fault, shown},
    field::{At, Field, List, items},
    report::Report,
};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde::Deserialize;

use super::load::{is_name, missing};
use crate::{contracts, peer::EDGE};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Document {
    version: Field<u64>,
    callers: List<CallerDoc>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CallerDoc {
    /// The service, as its certificate names it.
    name: Field<String>,
    /// For those who read the file.
    #[allow(dead_code, reason = "part of the language, and for people only")]
    description: Field<String>,
    /// `package.Service/Rpc`, or `package.Service/*`.
    rpcs: List<String>,
}

impl Versioned for Document {
    fn version(&self) -> &Field<u64> {
        &self.version
    }
}

/// What an entry can't stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    NotAnRpc,
    Unknown,
    /// The edge may call it anyway.
    ForUsers,
}

/// Caller to the paths it may call. The default lets nobody call anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matrix(BTreeMap<String, BTreeSet<String>>);

impl Matrix {
    /// Whether `caller` may call the RPC at `path`, `/package.Service/Rpc`.
    pub fn allows(&self, caller: &str, path: &str) -> bool {
        self.0.get(caller).is_some_and(|paths| paths.contains(path))
    }

    /// Lets `caller` call `package.Service/Rpc`, or `package.Service/*`. `pool`
    /// holds all services, also those that run elsewhere.
    ///
    /// # Errors
    /// There is no such RPC, or it needs no entry.
    pub fn allow(&mut self, caller: &str, rpc: &str, pool: &DescriptorPool) -> Result<(), Unfit> {
        let (service, method) = rpc.split_once('/').ok_or(Unfit::NotAnRpc)?;
        let declared = pool.get_service_by_name(service).ok_or(Unfit::Unknown)?;
        let named: Vec<_> = declared
            .methods()
            .filter(|found| method == "*" || found.name() == method)
            .collect();
        if named.is_empty() {
            return Err(Unfit::Unknown);
        }
        if caller == EDGE && !named.iter().all(contracts::is_service_only) {
            return Err(Unfit::ForUsers);
        }
        let path = |found: &MethodDescriptor| format!("/{service}/{}", found.name());
        let paths = self.0.entry(caller.to_owned()).or_default();
        paths.extend(named.iter().map(path));
        Ok(())
    }

    /// What is written, faults to `report`.
    pub(super) fn compile(document: &Document, pool: &DescriptorPool, report: &mut Report) -> Self {
        let mut matrix = Self::default();
        for at in items(&document.callers) {
            let Some(name) = missing(&at.value.name, at.mark, "caller", "name", report) else {
                continue;
            };
            if !is_name(name, "service", report) {
                continue;
            }
            if matrix
                .0
                .insert(name.value.clone(), BTreeSet::new())
                .is_some()
            {
                let message = format!("the caller {} is there twice", shown(&name.value));
                report.push(name.mark, Fault::new(codes::DEFINED_TWICE, message));
            }
            missing(&at.value.rpcs, at.mark, "caller", "rpcs", report);
            for rpc in items(&at.value.rpcs) {
                if let Err(unfit) = matrix.allow(&name.value, &rpc.value, pool) {
                    report.push(rpc.mark, fault(unfit, rpc));
                }
            }
        }
        matrix
    }
}

fn fault(unfit: Unfit, rpc: &At<String>) -> Fault {
    let rpc = shown(&rpc.value);
    match unfit {
        Unfit::NotAnRpc => Fault::new(codes::BAD_NAME, format!("{rpc} is not an RPC"))
            .hint("such as `user.v1.UserService/BatchGetUsers`, or `user.v1.UserService/*`"),
        Unfit::Unknown => Fault::new(codes::UNKNOWN_NAME, format!("there is no RPC {rpc}"))
            .hint("`palisade-core descriptors` holds all there are"),
        Unfit::ForUsers => Fault::new(codes::CONTRADICTION, format!("{rpc} is for users"))
            .hint("the edge may call it without an entry"),
    }
}
