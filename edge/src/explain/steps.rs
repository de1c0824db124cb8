//! What each stage said, in their order.

use palisade_policy::model::Origin;

use super::compose::{Judged, place};
use super::explanation::{Place, Step, UpstreamSeen, Verdict};
use super::settings;
use crate::rejection::Rejection;
use crate::stages::authn::Caller;
use crate::stages::cache;
use crate::stages::shadow::Shadowed;

/// In the order in which `stages::admit` asks them; the last two are asked after it.
const STAGES: [&str; 10] = [
    "sanitize",
    "host",
    "route",
    "authn",
    "authz",
    "websocket",
    "rate_limit",
    "body",
    "cache",
    "upstream",
];

/// The stage that a rejection comes from.
fn stage_of(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::Malformed(_)
        | Rejection::UriTooLong
        | Rejection::HeadersTooLarge
        | Rejection::NotImplemented(_)
        | Rejection::VersionNotSupported(_)
        | Rejection::ProtocolNotImplemented
        | Rejection::ServerOptions => "sanitize",
        Rejection::Misdirected => "host",
        // By the route's priority, and never in a rehearsal: it adds nothing to what is under way.
        Rejection::NotFound
        | Rejection::MethodNotAllowed(_)
        | Rejection::HttpsRequired { .. }
        | Rejection::Preflight(_)
        | Rejection::PolicyFault
        | Rejection::Overloaded => "route",
        Rejection::Unauthorized(_)
        | Rejection::NoKeys
        | Rejection::NoRevocations
        | Rejection::NoIntrospection => "authn",
        Rejection::Forbidden { .. } | Rejection::AccessDenied { .. } => "authz",
        Rejection::WebSocketNotAllowed | Rejection::OriginNotAllowed => "websocket",
        Rejection::RateLimited { .. } => "rate_limit",
        Rejection::BodyTooLarge => "body",
        // These are not known before something is sent on; one that is ends where routes are known.
        Rejection::Unavailable
        | Rejection::NoDescriptors
        | Rejection::RouteWithdrawn
        | Rejection::BadUpstream
        | Rejection::ResponseTooLarge
        | Rejection::UpstreamTimeout
        | Rejection::DeadlineExceeded
        | Rejection::RequestTimeout
        | Rejection::RequestTooSlow
        | Rejection::ResponseTooSlow
        | Rejection::ClientGone
        | Rejection::Internal => "upstream",
    }
}

pub(super) fn steps(judged: &Judged<'_>, upstream: Option<&UpstreamSeen>) -> Vec<Step> {
    let refused = judged.outcome.as_ref().err();
    let ends = refused.map(|refused| stage_of(&refused.rejection));
    let last = ends.and_then(|ends| STAGES.iter().position(|stage| *stage == ends));
    let last = last.unwrap_or(STAGES.len());
    let stages = STAGES.iter().enumerate();
    let steps = stages.map(|(number, stage)| {
        let (verdict, detail) = match refused {
            Some(refused) if number == last => (Verdict::Refused, why(&refused.rejection)),
            _ if number > last => (Verdict::NotReached, String::new()),
            _ => shadow(judged, stage).unwrap_or_else(|| passed(judged, stage, upstream)),
        };
        let at = (verdict != Verdict::NotReached).then(|| at(judged, stage, upstream));
        Step {
            stage: (*stage).to_owned(),
            verdict,
            detail,
            at: at.flatten(),
        }
    });
    steps.collect()
}

/// For the operator: more than the client is told.
fn why(rejection: &Rejection) -> String {
    let (status, code) = (rejection.status().as_u16(), rejection.code());
    let cause = match rejection {
        Rejection::NoKeys => "the keys of the issuer are not known here".to_owned(),
        Rejection::NoIntrospection => "nobody is asked about API keys here".to_owned(),
        Rejection::NoRevocations => "which tokens are revoked is not known here".to_owned(),
        Rejection::HttpsRequired { location } => format!("use {location}"),
        Rejection::MethodNotAllowed(methods) => {
            let methods: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
            format!("only {} is served", methods.join(", "))
        }
        Rejection::RateLimited { retry_after_s } => format!("again in {retry_after_s}s"),
        other => other
            .detail()
            .unwrap_or_else(|| other.public_message().to_owned()),
    };
    format!("{status} {code}: {cause}")
}

/// Where a rule of the stage would have refused.
fn shadow(judged: &Judged<'_>, stage: &str) -> Option<(Verdict, String)> {
    let of_stage = |found: &&Shadowed| {
        // Access rules are part of what a caller may do.
        let part = if found.stage == "access" {
            "authz"
        } else {
            found.stage
        };
        part == stage
    };
    let refusals = judged.shadowed().iter().filter(of_stage);
    let refusals = refusals.map(|refusal| {
        let rule = refusal
            .rule
            .as_ref()
            .map_or_else(String::new, |rule| format!(" by {rule}"));
        let detail = refusal
            .detail
            .as_ref()
            .map_or_else(String::new, |it| format!(" ({it})"));
        format!("would refuse {}{rule}{detail}", refusal.code)
    });
    let text = refusals.collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then_some((Verdict::Shadowed, text))
}

fn passed(judged: &Judged<'_>, stage: &str, upstream: Option<&UpstreamSeen>) -> (Verdict, String) {
    let skipped = |why: &str| (Verdict::Skipped, why.to_owned());
    let passed = |detail: String| (Verdict::Passed, detail);
    let Some(route) = judged.route() else {
        return passed(match stage {
            "sanitize" => sanitized(judged),
            _ => handshake(judged),
        });
    };
    let auth = route.auth.as_ref();
    match stage {
        "sanitize" => passed(sanitized(judged)),
        "host" => passed(handshake(judged)),
        "route" => passed(route.name.to_string()),
        "authn" if auth.is_none() => skipped("nobody is asked for"),
        "authn" => passed(judged.caller().map_or_else(String::new, caller)),
        "authz" => match settings::asked_of_callers(&judged.snapshot.policy, route) {
            None => skipped("nothing is asked of callers"),
            Some(asked) => passed(asked),
        },
        "websocket" => match judged.outcome {
            Ok(admitted) if admitted.websocket.is_some() => passed("becomes a tunnel".to_owned()),
            _ => skipped("not a handshake"),
        },
        "rate_limit" if route.limits.is_empty() => skipped("no limits"),
        "rate_limit" => passed(left(judged)),
        "body" => passed(format!("at most {} bytes", route.request_body_max)),
        "cache" => cached(judged),
        _ => match upstream {
            None => skipped("the edge answers itself"),
            Some(to) => passed(match &to.endpoint {
                None => to.cluster.clone(),
                Some(endpoint) => format!("{} at {endpoint}", to.cluster),
            }),
        },
    }
}

fn sanitized(judged: &Judged<'_>) -> String {
    let path = |head: &pingora_http::RequestHeader| head.uri.path().to_owned();
    let (before, after) = (path(judged.raw), path(judged.head));
    if before == after {
        "the path is canonical".to_owned()
    } else {
        format!("`{before}` is read as `{after}`")
    }
}

fn handshake(judged: &Judged<'_>) -> String {
    match judged.asked.downstream().proof {
        None => "in plain text".to_owned(),
        Some(proof) => {
            let certificate = match (proof.trust_domain, proof.client_until) {
                (None, _) => "",
                (Some(_), None) => ", no client certificate",
                (Some(_), Some(_)) => ", with a client certificate",
            };
            format!("TLS 1.3{certificate}")
        }
    }
}

fn caller(caller: &Caller) -> String {
    match caller.subject() {
        _ if caller.is_anonymous() => "anonymous".to_owned(),
        subject => subject.unwrap_or("(no sub)").to_owned(),
    }
}

fn left(judged: &Judged<'_>) -> String {
    let states = judged.quotas().states.iter();
    let states = states.map(|state| format!("{} has {} left", state.name, state.remaining));
    states.collect::<Vec<_>>().join(", ")
}

fn cached(judged: &Judged<'_>) -> (Verdict, String) {
    let Ok(admitted) = judged.outcome else {
        return (Verdict::NotReached, String::new());
    };
    if admitted.route.cache.is_none() {
        return (Verdict::Skipped, "the route keeps nothing".to_owned());
    }
    if cache::may_be_looked_up(judged.head) {
        (Verdict::Passed, "may be answered from memory".to_owned())
    } else {
        let why = format!(
            "{} or its fields ask for the upstream's own word",
            judged.head.method
        );
        (Verdict::Skipped, why)
    }
}

/// Where what the stage went by was written.
fn at(judged: &Judged<'_>, stage: &str, upstream: Option<&UpstreamSeen>) -> Option<Place> {
    let host = match judged.outcome {
        Ok(admitted) => Some(&admitted.host_rules),
        Err(refused) => refused.host_rules.as_ref(),
    };
    // What nobody wrote has no line.
    let written = |origin: &Origin| (origin.line > 0).then(|| place(origin));
    match stage {
        "host" => host.and_then(|host| written(&host.origin)),
        "route" => judged.route().and_then(|route| written(&route.origin)),
        "authn" => judged.setting("auth"),
        "authz" => judged.setting("access").or_else(|| judged.setting("auth")),
        "rate_limit" => judged.setting("limits"),
        "body" => judged.setting("request_body_max"),
        "cache" => judged.setting("cache"),
        "upstream" => upstream.map(|to| to.at.clone()),
        _ => None,
    }
}
