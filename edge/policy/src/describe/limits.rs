//! Rate limits, in words.

use super::{Definition, mode};
use crate::compile::values::written_rate;
use crate::model::{Limit, LimitKey};

pub(super) const KIND: &str = "limit";

pub(super) fn limit(limit: &Limit) -> Definition {
    let Limit {
        name,
        origin,
        mode: enforcement,
        key,
        requests,
        period,
        burst,
        keys_max,
        // Of what is described here.
        fingerprint: _,
    } = limit;
    let mut it = Definition::new(KIND, name, Some(origin));
    it.set("mode", mode(*enforcement));
    it.set("key", limit_key(key));
    it.set("rate", written_rate(*requests, *period));
    it.set("burst", burst);
    it.set("keys_max", keys_max);
    it
}

fn limit_key(key: &LimitKey) -> String {
    match key {
        LimitKey::ClientAddress => "client_address".to_owned(),
        LimitKey::Caller => "caller".to_owned(),
        LimitKey::Header(name) => format!("header {name}"),
        LimitKey::Claim(name) => format!("claim {name}"),
    }
}
