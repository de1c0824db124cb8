//! What the descriptors say about calling an RPC: may it be repeated, does it stream.
//! Invariant: only what is declared `NO_SIDE_EFFECTS` or `IDEMPOTENT` is repeated.
//! Refuses to guess from names.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, Value};

/// `google.protobuf.MethodOptions.idempotency_level`, its field number and values.
const IDEMPOTENCY_LEVEL: u32 = 34;
const UNKNOWN: i32 = 0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Method {
    /// May be sent twice: one message in, declared idempotent.
    pub(super) repeatable: bool,
    /// Answers may go on for days.
    pub(super) streams: bool,
}

/// All RPCs of all services, by path.
pub(super) struct Methods(HashMap<String, Method>);

impl Methods {
    pub(super) fn new(pool: &DescriptorPool) -> Self {
        let mut methods = HashMap::new();
        for service in pool.services() {
            for rpc in service.methods() {
                let options = rpc.options();
                let level = options
                    .get_field_by_number(IDEMPOTENCY_LEVEL)
                    .and_then(|level| match level.as_ref() {
                        Value::EnumNumber(level) => Some(*level),
                        _ => None,
                    });
                let idempotent = level.is_some_and(|level| level != UNKNOWN);
                let method = Method {
                    repeatable: idempotent && !rpc.is_client_streaming(),
                    streams: rpc.is_server_streaming(),
                };
                methods.insert(format!("/{}/{}", service.full_name(), rpc.name()), method);
            }
        }
        Self(methods)
    }

    pub(super) fn of(&self, path: &str) -> Method {
        self.0.get(path).copied().unwrap_or_default()
    }
}
