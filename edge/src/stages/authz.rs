//! What the caller may do: the route's scopes and roles against the token's.

use palisade_policy::model::Route;

use super::authn::Caller;
use crate::rejection::{Missing, Rejection};

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

/// Every scope and one of the roles. An anonymous caller has neither.
pub fn permit(route: &Route, caller: Caller) -> Result<Permit, Rejection> {
    let Some(auth) = &route.auth else {
        return Ok(Permit { caller });
    };
    let claims = caller.claims.as_deref();
    let has_scope = |scope: &String| claims.is_some_and(|claims| claims.has_scope(scope));
    if !auth.scopes.iter().all(has_scope) {
        return Err(Rejection::Forbidden {
            missing: Missing::Scope,
        });
    }
    let has_role = |role: &String| claims.is_some_and(|claims| claims.has_role(role));
    if !auth.roles.is_empty() && !auth.roles.iter().any(has_role) {
        return Err(Rejection::Forbidden {
            missing: Missing::Role,
        });
    }
    Ok(Permit { caller })
}
