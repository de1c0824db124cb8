//! From the stages' verdict to an explanation.

use palisade_policy::model::{Origin, Route, Setting};
use pingora_http::{RequestHeader, ResponseHeader};

use super::explanation::{
    CacheSeen, Change, Explanation, FieldChange, Found, Outcome, OwnAnswer, Place, Seen,
};
use super::question::{Asked, Question, Unaskable};
use super::{candidates, fields, limits, settings, steps, upstream};
use crate::rejection::Rejection;
use crate::respond;
use crate::snapshot::Snapshot;
use crate::stages::authn::Caller;
use crate::stages::rate_limit::Quotas;
use crate::stages::{self, Admitted, Refused, cache, rewrite};

/// What was asked, and what the stages made of it.
pub(super) struct Judged<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) asked: &'a Asked,
    /// As it was asked.
    pub(super) raw: &'a RequestHeader,
    /// As the stages left it.
    pub(super) head: &'a RequestHeader,
    pub(super) outcome: &'a Result<Admitted, Refused>,
}

impl Judged<'_> {
    pub(super) fn route(&self) -> Option<&Route> {
        match self.outcome {
            Ok(admitted) => Some(&admitted.route),
            Err(refused) => refused.route.as_deref(),
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

/// Explain what would become of a request. Live where the snapshot is the one in force.
///
/// # Errors
/// The question is not about a request that could be sent.
pub fn explain(
    snapshot: &Snapshot,
    question: &Question,
    live: bool,
) -> Result<Explanation, Unaskable> {
    let (raw, asked) = Asked::of(question, snapshot)?;
    let mut head = raw.clone();
    let outcome = stages::admit(snapshot, &mut head, asked.downstream(), asked.now);
    let judged = Judged {
        snapshot,
        asked: &asked,
        raw: &raw,
        head: &head,
        outcome: &outcome,
    };
    let upstream = outcome
        .as_ref()
        .ok()
        .and_then(|admitted| upstream::seen(&judged, admitted));
    let answer = own_answer(&judged);
    Ok(Explanation {
        request: seen(&judged),
        stages: steps::steps(&judged, upstream.as_ref()),
        outcome: match &outcome {
            Ok(_) => Outcome::Forwarded {
                cluster: upstream
                    .as_ref()
                    .map_or_else(String::new, |to| to.cluster.clone()),
            },
            Err(refused) => answered(&refused.rejection),
        },
        route: judged.route().map(|route| found(snapshot, route)),
        candidates: candidates::candidates(&judged),
        limits: limits::limits(&judged),
        cache: outcome
            .as_ref()
            .ok()
            .and_then(|admitted| cached(&judged, admitted)),
        response_headers: response_headers(&judged),
        upstream,
        answer,
        live,
    })
}

fn answered(rejection: &Rejection) -> Outcome {
    Outcome::Answered {
        status: rejection.status().as_u16(),
        code: rejection.code().to_owned(),
        message: rejection.public_message().to_owned(),
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

fn cached(judged: &Judged<'_>, admitted: &Admitted) -> Option<CacheSeen> {
    let rule = admitted.route.cache.as_ref()?;
    let encrypted = judged.asked.client.encrypted;
    let used = admitted.websocket.is_none()
        && !respond::is_grpc(judged.head)
        && cache::may_be_looked_up(judged.head);
    let [scheme, host, target] = cache::key_parts(judged.head, encrypted, &admitted.host);
    Some(CacheSeen {
        at: judged
            .setting("cache")
            .unwrap_or_else(|| place(&admitted.route.origin)),
        key: format!("{scheme}://{host}{target}"),
        used,
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
    let policy = judged.snapshot.rate_limit_policy(route);
    rewrite::rate_limit(head, judged.quotas(), policy)?;
    if let Ok(admitted) = judged.outcome {
        rewrite::response(head, admitted)?;
    }
    Ok(())
}

fn own_answer(judged: &Judged<'_>) -> Option<OwnAnswer> {
    let refused = judged.outcome.as_ref().err()?;
    let id = judged.asked.request_id.as_str();
    let (mut head, body) = respond::response(&refused.rejection, judged.head, id).ok()?;
    edit(judged, &mut head).ok()?;
    Some(OwnAnswer {
        status: head.status.as_u16(),
        headers: fields::all(&head.headers),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// Of an answer that an upstream gives; what it says itself may make a difference.
fn response_headers(judged: &Judged<'_>) -> Vec<FieldChange> {
    let Ok(admitted) = judged.outcome else {
        return Vec::new();
    };
    let Ok(mut head) = ResponseHeader::build(http::StatusCode::OK, None) else {
        return Vec::new();
    };
    let before = head.headers.clone();
    // An edit that fails would fail the answer; what was done until then is shown.
    let _ = edit(judged, &mut head);
    let mut changes = fields::changes(&before, &head.headers);
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
