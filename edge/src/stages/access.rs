//! One access rule against one request.

use palisade_policy::expression::Facts;
use palisade_policy::model::{AccessRule, ValueMatch};
use palisade_token::Claims;
use pingora_http::RequestHeader;
use serde_json::Value;

use super::Downstream;
use super::authn::Caller;
use crate::rejection::Denial;
use crate::request_ctx::Now;

/// What rules are judged by, besides the caller.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    pub head: &'a RequestHeader,
    pub host: &'a str,
    pub downstream: Downstream<'a>,
    /// Variables of the path: name and text.
    pub captures: &'a [(&'a str, &'a str)],
    pub now: Now,
}

/// All that the rule gives must hold; else what does not, for the log.
pub fn allows(rule: &AccessRule, request: &Judged<'_>, caller: &Caller) -> Result<(), Denial> {
    let client = request.downstream.client.to_canonical();
    let is_within = rule.client_addresses.iter();
    if !rule.client_addresses.is_empty() && !is_within.clone().any(|range| range.contains(&client)) {
        return Err(Denial::ClientAddress);
    }
    if let Some(wanted) = &rule.client_certificate
        && !request
            .downstream
            .certificate
            .is_some_and(|shown| wanted.holds(shown))
    {
        return Err(Denial::ClientCertificate);
    }
    if !rule.scopes.iter().all(|scope| caller.has_scope(scope)) {
        return Err(Denial::Scopes);
    }
    if !rule.roles.is_empty() && !rule.roles.iter().any(|role| caller.has_role(role)) {
        return Err(Denial::Roles);
    }
    for (path, wanted) in &rule.claims {
        let claims = caller.claims.as_deref();
        if !claims.is_some_and(|claims| claim_holds(claims, path, wanted)) {
            return Err(Denial::Claim(path.as_str().into()));
        }
    }
    match &rule.expression {
        None => Ok(()),
        Some(expression) => match expression.holds(&facts(request, caller)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Denial::Expression),
            Err(why) => Err(Denial::Undecided(why)),
        },
    }
}

/// Of a list one item has to hold: groups and roles come as lists.
fn claim_holds(claims: &Claims, path: &str, wanted: &ValueMatch) -> bool {
    match claims.get(path) {
        Some(Value::Array(items)) => items
            .iter()
            .any(|item| item.as_str().is_some_and(|item| wanted.holds(item))),
        Some(Value::Object(_)) => *wanted == ValueMatch::Present,
        _ => claims.get_str(path).is_some_and(|text| wanted.holds(&text)),
    }
}

fn facts<'a>(request: &Judged<'a>, caller: &'a Caller) -> Facts<'a> {
    let head = request.head;
    Facts {
        method: head.method.as_str(),
        path: head.uri.path(),
        host: request.host,
        scheme: if request.downstream.encrypted {
            "https"
        } else {
            "http"
        },
        query: head.uri.query(),
        headers: &head.headers,
        client: request.downstream.client,
        claims: caller.claims.as_deref().map(|claims| &claims.raw),
        subject: caller.subject(),
        scopes: caller.scopes(),
        roles: caller.roles(),
        captures: request.captures,
        now: request.now.unix_seconds(),
    }
}
