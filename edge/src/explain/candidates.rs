//! The rules that came into question, and why each but one lost.

use palisade_policy::routing::{self, Lost, Request, Rule};

use super::compose::{Judged, place};
use super::explanation::Candidate;
use crate::stages::route;

/// Of one request: a host with thousands of rules for the same path is not read by people.
const CANDIDATES_MAX: usize = 50;

pub(super) fn candidates(judged: &Judged<'_>) -> Vec<Candidate> {
    let (host, rules) = match judged.outcome {
        Ok(admitted) => (&admitted.host, &admitted.host_rules),
        Err(refused) => match &refused.host_rules {
            Some(rules) => (&refused.host, rules),
            // Nothing was looked for.
            None => return Vec::new(),
        },
    };
    let facts = (
        (host.as_str(), &**rules),
        judged.head,
        judged.asked.downstream(),
    );
    let now = judged.asked.now;
    let of_route = judged.asked.of_route.as_deref();
    let each = |candidate: routing::Candidate<'_>, request: Request<'_>| {
        let rule = candidate.rule;
        Candidate {
            route: rule.route.name.to_string(),
            at: place(&rule.route.origin),
            rule: shown(rule),
            lost: candidate.lost.map(|lost| why(&lost, request)),
        }
    };
    let mut candidates = route::candidates(judged.snapshot, of_route, facts, now, each);
    candidates.truncate(CANDIDATES_MAX);
    candidates
}

fn why(lost: &Lost<'_>, request: Request<'_>) -> String {
    match lost {
        Lost::Mismatch(mismatch) => {
            format!(
                "wants {}, and sees {}",
                mismatch.wanted(),
                mismatch.saw(request)
            )
        }
        Lost::Earlier(rule) => format!(
            "holds too, and comes after {} {}",
            rule.route.name,
            shown(rule)
        ),
    }
}

/// `POST /login`, `shop.example prefix /orders`.
pub(super) fn shown(rule: &Rule) -> String {
    let methods = rule.conditions.methods.iter().map(|method| method.as_str());
    let hosts = rule.hosts.iter().map(ToString::to_string);
    let (methods, hosts): (Vec<_>, Vec<_>) = (methods.collect(), hosts.collect());
    let path = rule.path.to_string();
    let parts = [methods.join(","), hosts.join(","), path];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" ")
}
