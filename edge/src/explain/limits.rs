//! The limits of a request: what they count it by, and what is left.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use palisade_policy::model::{Limit, LimitKey, Mode};

use super::compose::{Judged, place};
use super::explanation::LimitSeen;

/// Of a digest that stands for a value: enough to tell two apart.
const DIGEST_BYTES: usize = 6;

pub(super) fn limits(judged: &Judged<'_>) -> Vec<LimitSeen> {
    let uses = judged.route().map_or(&[][..], |route| &route.limits);
    let limits = uses.iter().filter_map(|used| {
        let limit = judged.snapshot.policy.limits.get(used.id.0)?;
        let mut states = judged.quotas().states.iter();
        let state = states.find(|state| state.name == limit.name);
        Some(LimitSeen {
            name: limit.name.to_string(),
            at: place(&limit.origin),
            by: by(&limit.key),
            key: key(judged, limit),
            shadow: used.mode == Mode::Shadow,
            remaining: state.map(|state| state.remaining),
            reset_s: state.map(|state| state.reset_s),
        })
    });
    limits.collect()
}

pub(super) fn by(key: &LimitKey) -> String {
    match key {
        LimitKey::ClientAddress => "client_address".to_owned(),
        LimitKey::Caller => "caller".to_owned(),
        LimitKey::Header(name) => format!("header {name}"),
        LimitKey::Claim(path) => format!("claim {path}"),
    }
}

/// What `rate_limit` hashes, for people.
fn key(judged: &Judged<'_>, limit: &Limit) -> String {
    let address = || match judged.asked.client.address.to_canonical() {
        std::net::IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        v4 => v4.to_string(),
    };
    let claims = judged.caller().and_then(|caller| caller.claims.clone());
    match &limit.key {
        LimitKey::ClientAddress => address(),
        LimitKey::Caller => match claims {
            Some(claims) => format!(
                "{} of {}",
                claims.subject.as_deref().unwrap_or("(no sub)"),
                claims.issuer
            ),
            None => address(),
        },
        LimitKey::Header(name) => {
            let values = judged.head.headers.get_all(name).iter();
            let values: Vec<&[u8]> = values.map(|value| value.as_bytes()).collect();
            match values.as_slice() {
                [] => "(absent: all such requests share one count)".to_owned(),
                values => digested(&values.concat()),
            }
        }
        LimitKey::Claim(path) => {
            let text = claims.as_deref().and_then(|claims| claims.get_str(path));
            text.map_or_else(
                || "(absent: all such requests share one count)".to_owned(),
                |text| text.into_owned(),
            )
        }
    }
}

/// A header may hold a credential.
fn digested(value: &[u8]) -> String {
    let mut text = "sha256 ".to_owned();
    for byte in digest(&SHA256, value).as_ref().iter().take(DIGEST_BYTES) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
