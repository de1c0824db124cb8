//! What a route asks of callers, as documents say it.

use palisade_openapi::{Quota, Scheme, Terms};
use palisade_policy::model::{Auth, Credential, LimitKey, Mode, Policy, Route};

/// Rules in shadow ask for nothing.
pub(super) fn of(policy: &Policy, route: &Route) -> Terms {
    let auth = route.auth.as_ref();
    let enforced = auth.filter(|auth| auth.mode == Mode::Enforce);
    let mut terms = Terms {
        schemes: auth.map_or_else(Vec::new, |auth| schemes(policy, auth)),
        is_optional: auth.is_some_and(|auth| auth.optional || auth.mode == Mode::Shadow),
        scopes: enforced.map_or_else(Vec::new, |auth| auth.scopes.clone()),
        roles: enforced.map_or_else(Vec::new, |auth| auth.roles.clone()),
        quotas: quotas(policy, route),
        request_body_max: route.request_body_max,
        request_timeout: route.request_timeout,
    };
    let used = route
        .access
        .iter()
        .filter(|used| used.mode == Mode::Enforce);
    for rule in used.filter_map(|used| policy.access.get(used.id.0)) {
        terms.scopes.extend(rule.scopes.iter().cloned());
        terms.roles.extend(rule.roles.iter().cloned());
    }
    terms.scopes.sort();
    terms.scopes.dedup();
    terms
}

fn schemes(policy: &Policy, auth: &Auth) -> Vec<Scheme> {
    let schemes = auth.any_of.iter().filter_map(|credential| {
        Some(match credential {
            Credential::Jwt(id) => Scheme::Jwt {
                issuer: policy.issuers.get(id.0)?.name.to_string(),
            },
            Credential::ApiKey(id) => {
                let keys = policy.api_keys.get(id.0)?;
                Scheme::ApiKey {
                    keys: keys.name.to_string(),
                    header: keys.header.to_string(),
                }
            }
            Credential::ClientCertificate(_) => Scheme::ClientCertificate,
        })
    });
    schemes.collect()
}

fn quotas(policy: &Policy, route: &Route) -> Vec<Quota> {
    let used = route
        .limits
        .iter()
        .filter(|used| used.mode == Mode::Enforce);
    let limits = used.filter_map(|used| policy.limits.get(used.id.0));
    let quotas = limits.map(|limit| Quota {
        name: limit.name.to_string(),
        requests: limit.requests,
        period: limit.period,
        burst: limit.burst,
        per: match &limit.key {
            LimitKey::ClientAddress => "from one address".to_owned(),
            LimitKey::Caller => "of one caller".to_owned(),
            LimitKey::Header(name) => format!("with one value of `{name}`"),
            LimitKey::Claim(name) => format!("with one value of the claim `{name}`"),
        },
    });
    quotas.collect()
}
