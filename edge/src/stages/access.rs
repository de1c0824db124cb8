//! One access rule against one request.

use palisade_policy::expression::Facts;
use palisade_policy::model::AccessRule;
use palisade_policy::routing::Rule;
use pingora_http::RequestHeader;

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
    /// The match that the request took.
    pub rule: &'a Rule,
    pub now: Now,
}

/// All that the rule gives must hold; else what does not, for the log.
pub fn allows(rule: &AccessRule, request: &Judged<'_>, caller: &Caller) -> Result<(), Denial> {
    let client = request.downstream.client;
    let ranges = rule.client_addresses.as_deref();
    if ranges.is_some_and(|ranges| !ranges.contains(client)) {
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
        if !claims.is_some_and(|claims| wanted.holds_for_claim(claims, path)) {
            return Err(Denial::Claim(path.as_str().into()));
        }
    }
    match &rule.expression {
        None => Ok(()),
        Some(expression) => {
            let captures = request.rule.captures(request.head.uri.path());
            let names = request.rule.path.variables().into_iter();
            let captures: Vec<_> = names
                .filter_map(|name| Some((name, captures.get(name)?)))
                .collect();
            match expression.holds(&facts(request, caller, &captures)) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Denial::Expression),
                Err(why) => Err(Denial::Undecided(why)),
            }
        }
    }
}

fn facts<'a>(
    request: &Judged<'a>,
    caller: &'a Caller,
    captures: &'a [(&'a str, &'a str)],
) -> Facts<'a> {
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
        captures,
        now: request.now.unix_seconds(),
    }
}
