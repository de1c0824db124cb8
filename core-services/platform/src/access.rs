//! Which service may call which RPC: `policies/services/access.yaml`.
//! Invariant: what is not written down may not be called, and everything written
//! down exists in the descriptors.
//! Refuses entries that say nothing: the edge needs none for what users may call.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde::Deserialize;

use crate::{
    contracts,
    peer::{EDGE, is_name},
};

/// More is a mistake: nine services, some fifty RPCs each.
const RPCS_MAX: usize = 4096;

/// The file as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Calling service to RPCs: `package.Service/Rpc`, or `package.Service/*`.
    #[serde(default)]
    pub callers: BTreeMap<String, Vec<String>>,
}

/// What is wrong with a document; all of it at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Faults(pub Vec<String>);

/// The file as used. The default lets nobody call anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matrix {
    /// Caller to paths, `/package.Service/Rpc`.
    allowed: BTreeMap<String, BTreeSet<String>>,
}

impl Matrix {
    /// Checks a document against the descriptors of all services, also those that
    /// run elsewhere.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(document: &Document, pool: &DescriptorPool) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let mut matrix = Self::default();
        for (caller, rpcs) in &document.callers {
            if !is_name(caller) {
                faults.push(format!(
                    "`{caller}` is not a service name\nhint: lowercase letters, digits and `-`"
                ));
            }
            let paths = matrix.allowed.entry(caller.clone()).or_default();
            for rpc in rpcs {
                match expand(rpc, caller, pool) {
                    Ok(found) => paths.extend(found),
                    Err(fault) => faults.push(fault),
                }
            }
        }
        if matrix.allowed.values().map(BTreeSet::len).sum::<usize>() > RPCS_MAX {
            faults.push(format!("more than {RPCS_MAX} RPCs"));
        }
        if faults.is_empty() {
            Ok(matrix)
        } else {
            Err(Faults(faults))
        }
    }

    /// Whether `caller` may call the RPC at `path`.
    pub fn allows(&self, caller: &str, path: &str) -> bool {
        self.allowed
            .get(caller)
            .is_some_and(|paths| paths.contains(path))
    }
}

/// The paths that an entry stands for.
fn expand(rpc: &str, caller: &str, pool: &DescriptorPool) -> Result<Vec<String>, String> {
    let (service, method) = rpc.split_once('/').ok_or_else(|| {
        format!("`{rpc}` is not an RPC\nhint: such as `auth.v1.AuthService/Login`")
    })?;
    let unknown =
        || format!("there is no RPC `{rpc}`\nhint: `palisade-core descriptors` holds all of them");
    let declared = pool.get_service_by_name(service).ok_or_else(unknown)?;
    let named: Vec<_> = declared
        .methods()
        .filter(|found| method == "*" || found.name() == method)
        .collect();
    if named.is_empty() {
        return Err(unknown());
    }
    if caller == EDGE && !named.iter().all(contracts::is_service_only) {
        return Err(format!(
            "`{rpc}` needs no entry for `{EDGE}`\nhint: it may call all but service-only RPCs anyway"
        ));
    }
    let path = |found: &MethodDescriptor| format!("/{service}/{}", found.name());
    Ok(named.iter().map(path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(yaml: &str) -> Result<Matrix, Vec<String>> {
        let pool = DescriptorPool::decode(core_proto::DESCRIPTOR_SET).unwrap();
        let document: Document = serde_saphyr::from_str(yaml).unwrap();
        Matrix::compile(&document, &pool).map_err(|faults| faults.0)
    }

    #[test]
    fn what_is_not_written_may_not_be_called() {
        let matrix = compile(
            "callers:\n  order: [auth.v1.AuthService/GetJwks]\n  media: ['user.v1.UserService/*']\n",
        )
        .unwrap();
        let check = |caller: &str, path: &str, expected: bool| {
            assert_eq!(matrix.allows(caller, path), expected, "{caller} {path}");
        };
        check("order", "/auth.v1.AuthService/GetJwks", true);
        check("order", "/auth.v1.AuthService/Login", false);
        check("order", "/user.v1.UserService/GetProfile", false);
        check("media", "/user.v1.UserService/GetProfile", true);
        check("media", "/user.v1.UserService/UpdateProfile", true);
        check("media", "/auth.v1.AuthService/GetJwks", false);
        check("edge", "/auth.v1.AuthService/GetJwks", false);
        assert_eq!(compile("callers: {}").unwrap(), Matrix::default());
    }

    #[test]
    fn every_fault_is_named() {
        let faults = compile(
            "callers:\n  Order: []\n  a: [auth.v1.AuthService/Nope, x.v1.X/Y, Login]\n  edge: [auth.v1.AuthService/Login]\n",
        )
        .unwrap_err();
        let starts: Vec<&str> = faults
            .iter()
            .map(|fault| fault.lines().next().unwrap())
            .collect();
        assert_eq!(
            starts,
            [
                "`Order` is not a service name",
                "there is no RPC `auth.v1.AuthService/Nope`",
                "there is no RPC `x.v1.X/Y`",
                "`Login` is not an RPC",
                "`auth.v1.AuthService/Login` needs no entry for `edge`",
            ]
        );
        assert!(serde_saphyr::from_str::<Document>("caller: {}").is_err());
    }
}
