//! From the stages' verdict to an explanation.

use std::sync::Arc;

use bytes::Bytes;
use http::header::ORIGIN;
use palisade_policy::model::{Origin, Route, Setting};
use palisade_policy::routing::Rule;
use pingora_http::{RequestHeader, ResponseHeader};

use super::decision::Answer;
use super::explanation::{
    CacheSeen, Change, Explanation, FieldChange, Found, Outcome, OwnAnswer, Place, Seen,
    UpstreamSeen,
};
use super::question::{Asked, Question, Unaskable};
use super::{candidates, fields, limits, settings, steps, upstream};
use crate::openapi;
use crate::respond;
use crate::snapshot::Snapshot;
use crate::stages::authn::Caller;
use crate::stages::rate_limit::Quotas;
use crate::stages::shadow::Shadowed;
use crate::stages::{self, Admitted, Refused, cache, cors, rewrite};

/// What was asked, and what the stages made of it.
pub(super) struct Judged<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) asked: &'a Asked,
    /// As it was asked.
    pub(super) raw: &'a RequestHeader,
    /// As the stages left it.
    pub(super) head: &'a RequestHeader,
    pub(super) outcome: &'a Result<Admitted, Box<Refused>>,
}

impl Judged<'_> {
    pub(super) fn route(&self) -> Option<&Route> {
        match self.outcome {
            Ok(admitted) => Some(&admitted.route),
            Err(refused) => refused.route.as_deref(),
        }
    }

    /// The match of the route that took the request.
    pub(super) fn rule(&self) -> Option<&Arc<Rule>> {
        match self.outcome {
            Ok(admitted) => Some(&admitted.rule),
            Err(refused) => refused.rule.as_ref(),
        }
    }

    /// What would have refused, and only counts.
    pub(super) fn shadowed(&self) -> &[Shadowed] {
        match self.outcome {
            Ok(admitted) => &admitted.shadowed,
            Err(refused) => &refused.shadowed,
        }
    }

    pub(super) fn quotas(&self) -> &Quotas {
        match self.outcome {
            Ok(admitted) => &admitted.quotas,
            Err(refused) => &refused.quotas,
        }
    }

    /// As far as somebody was asked for, and let in.
    pub(super) fn caller(&self) -> Option<&Caller> {
        match self.outcome {
            Ok(admitted) => Some(admitted.permit.caller()),
            Err(refused) => refused.caller.as_ref(),
        }
    }

    /// Where the route, or what it inherits, gives a setting.
    pub(super) fn setting(&self, key: &str) -> Option<Place> {
        let given = |setting: &&Setting| setting.key == key;
        let setting = self.route()?.settings.iter().find(given)?;
        Some(place(&setting.origin))
    }
}

/// Ask the stages, and make something of what they said.
pub(super) fn judge<T>(
    snapshot: &Snapshot,
    question: &Question,
    make: impl FnOnce(&Judged<'_>) -> T,
) -> Result<T, Unaskable> {
    let (raw, asked) = Asked::of(question, snapshot)?;
    let mut head = raw.clone();
    let outcome = stages::admit(snapshot, &mut head, asked.downstream(), asked.now);
    Ok(make(&Judged {
        snapshot,
        asked: &asked,
        raw: &raw,
        head: &head,
        outcome: &outcome,
    }))
}

/// Explain what would become of a request. Live where the snapshot is the one in force.
///
/// # Errors
/// The question is not about a request that could be sent.
pub fn explain(
    snapshot: &Snapshot,
    question: &Question,
    live: bool,
) -> Result<Explanation, Unaskable> {
    judge(snapshot, question, |judged| explanation(judged, live))
}

pub(super) fn explanation(judged: &Judged<'_>, live: bool) -> Explanation {
    let admitted = judged.outcome.as_ref().ok();
    let upstream = admitted.and_then(|admitted| upstream::seen(judged, admitted));
    Explanation {
        request: seen(judged),
        stages: steps::steps(judged, upstream.as_ref()),
        outcome: outcome(judged, upstream.as_ref()),
        route: judged.route().map(|route| found(judged.snapshot, route)),
        candidates: candidates::candidates(judged),
        limits: limits::limits(judged),
        cache: admitted.and_then(|admitted| cached(judged, admitted)),
        response_headers: response_headers(judged),
        upstream,
        answer: own_answer(judged),
        live,
    }
}

fn outcome(judged: &Judged<'_>, upstream: Option<&UpstreamSeen>) -> Outcome {
    match Answer::of(judged.outcome) {
        Some(Answer { status, code }) => Outcome::Answered {
            status,
            code: code.to_owned(),
            message: judged
                .outcome
                .as_ref()
                .err()
                .map_or_else(String::new, |refused| {
                    refused.rejection.public_message().to_owned()
                }),
        },
        None => Outcome::Forwarded {
            cluster: upstream.map_or_else(String::new, |to| to.cluster.clone()),
        },
    }
}

fn seen(judged: &Judged<'_>) -> Seen {
    let (raw, head, client) = (judged.raw, judged.head, &judged.asked.client);
    let scheme = if client.encrypted { "https" } else { "http" };
    let host = head.headers.get(http::header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or("");
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let removed = raw
        .headers
        .keys()
        .filter(|name| !head.headers.contains_key(*name));
    Seen {
        method: head.method.to_string(),
        url: format!("{scheme}://{host}{target}"),
        client: client.address.to_string(),
        proxies: client.proxies.iter().map(ToString::to_string).collect(),
        removed: removed.map(ToString::to_string).collect(),
    }
}

fn found(snapshot: &Snapshot, route: &Route) -> Found {
    Found {
        name: route.name.to_string(),
        at: place(&route.origin),
        settings: settings::settings(snapshot, route),
    }
}

/// Whether the request may be answered from memory.
pub(super) fn uses_cache(judged: &Judged<'_>, admitted: &Admitted) -> bool {
    admitted.route.cache.is_some()
        && admitted.websocket.is_none()
        && !respond::is_grpc(judged.head)
        && cache::may_be_looked_up(judged.head)
}

fn cached(judged: &Judged<'_>, admitted: &Admitted) -> Option<CacheSeen> {
    let rule = admitted.route.cache.as_ref()?;
    let encrypted = judged.asked.client.encrypted;
    let [scheme, host, target] = cache::key_parts(judged.head, encrypted, &admitted.host);
    Some(CacheSeen {
        at: judged
            .setting("cache")
            .unwrap_or_else(|| place(&admitted.route.origin)),
        key: format!("{scheme}://{host}{target}"),
        used: uses_cache(judged, admitted),
        default_ttl: rule.default_ttl.map(|ttl| format!("{ttl:?}")),
    })
}

/// What host and route add to an answer, by the functions that add it.
fn edit(judged: &Judged<'_>, head: &mut ResponseHeader) -> pingora_error::Result<()> {
    let asked = judged.asked;
    head.insert_header("x-request-id", asked.request_id.header())?;
    let rules = match judged.outcome {
        Ok(admitted) => Some(&admitted.host_rules),
        Err(refused) => refused.host_rules.as_ref(),
    };
    let rules = rules.unwrap_or(judged.snapshot.policy.hosts.any());
    if asked.encrypted {
        if rules.alt_svc {
            let alternative = format!("h3=\":{}\"; ma=86400", asked.https_port);
            head.insert_header("alt-svc", alternative)?;
        }
        rewrite::host_response(head, rules)?;
    }
    let Some(route) = judged.route() else {
        return Ok(());
    };
    if let Some(rules) = &route.cors {
        cors::response(head, rules, route, judged.head.headers.get(ORIGIN))?;
    }
    let policy = judged.snapshot.rate_limit_policy(route);
    rewrite::rate_limit(head, judged.quotas(), policy)?;
    if let Ok(admitted) = judged.outcome {
        rewrite::response(head, admitted)?;
    }
    Ok(())
}

/// Head and body of the edge's own answer.
fn own_response(judged: &Judged<'_>) -> Option<(ResponseHeader, Bytes)> {
    let (mut head, body) = match judged.outcome {
        Ok(admitted) => openapi::by_route(judged.snapshot, admitted, judged.head).ok()??,
        Err(refused) => {
            let id = judged.asked.request_id.as_str();
            respond::response(&refused.rejection, judged.head, id).ok()?
        }
    };
    edit(judged, &mut head).ok()?;
    Some((head, body))
}

fn own_answer(judged: &Judged<'_>) -> Option<OwnAnswer> {
    let (head, body) = own_response(judged)?;
    Some(OwnAnswer {
        status: head.status.as_u16(),
        headers: fields::all(&head.headers),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// What the edge puts into the answer, its own or an upstream's.
pub(super) fn response_head(judged: &Judged<'_>) -> Option<ResponseHeader> {
    if Answer::of(judged.outcome).is_some() {
        return own_response(judged).map(|(head, _)| head);
    }
    let mut head = ResponseHeader::build(http::StatusCode::OK, None).ok()?;
    edit(judged, &mut head).ok()?;
    Some(head)
}

/// Of an answer that an upstream gives; what it says itself may make a difference.
fn response_headers(judged: &Judged<'_>) -> Vec<FieldChange> {
    let Ok(admitted) = judged.outcome else {
        return Vec::new();
    };
    if admitted.cluster.is_none() {
        return Vec::new();
    }
    let Some(head) = response_head(judged) else {
        return Vec::new();
    };
    let mut changes = fields::changes(&http::HeaderMap::new(), &head.headers);
    let removed = admitted.route.response_headers.remove.iter();
    changes.extend(removed.map(|name| FieldChange {
        change: Change::Removed,
        name: name.to_string(),
        value: String::new(),
    }));
    changes
}

pub(super) fn place(origin: &Origin) -> Place {
    format!("{}:{}", origin.file, origin.line)
}
