//! What the caller may do: the route's scopes and roles, then its access rules.

use std::sync::Arc;

use palisade_policy::model::Route;

use super::access::{self, Judged};
use super::authn::Caller;
use super::shadow::{self, Shadowed};
use crate::rejection::{Missing, Rejection};
use crate::snapshot::Snapshot;

/// Proof that the check was made; only `permit` makes one.
#[derive(Debug)]
pub struct Permit {
    caller: Caller,
}

impl Permit {
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// Every scope and one of the roles; an anonymous caller has neither. Then every access rule.
pub fn permit(
    snapshot: &Snapshot,
    route: &Arc<Route>,
    request: &Judged<'_>,
    caller: Caller,
    shadowed: &mut Vec<Shadowed>,
) -> Result<Permit, Rejection> {
    if let Some(auth) = &route.auth
        && let Some(missing) = lacks(&auth.scopes, &auth.roles, &caller)
        // Who was not believed was counted already.
        && !(shadowed.iter().any(|other| other.stage == "authn"))
    {
        let rejection = Rejection::Forbidden {
            missing,
            by_token: caller.claims.is_some() && caller.traded.is_none(),
        };
        let would_be = Shadowed::new("authz", &rejection);
        shadow::refuse(auth.mode, rejection, would_be, shadowed)?;
    }
    for rule_use in &route.access {
        let rule = snapshot.policy.access.get(rule_use.id.0);
        let rule = rule.ok_or(Rejection::Internal)?;
        let Err(why) = access::allows(rule, request, &caller) else {
            continue;
        };
        let rejection = Rejection::AccessDenied {
            rule: rule.name.clone(),
            why,
        };
        let would_be = Shadowed::new("access", &rejection).by(&rule.name);
        shadow::refuse(rule_use.mode, rejection, would_be, shadowed)?;
    }
    Ok(Permit { caller })
}

fn lacks(scopes: &[String], roles: &[String], caller: &Caller) -> Option<Missing> {
    if !scopes.iter().all(|scope| caller.has_scope(scope)) {
        return Some(Missing::Scope);
    }
    let has_role = roles.is_empty() || roles.iter().any(|role| caller.has_role(role));
    (!has_role).then_some(Missing::Role)
}
