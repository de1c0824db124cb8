//! What a test expects against what would happen.

use http::header::LOCATION;
use http::{HeaderMap, HeaderName};
use palisade_policy::model::{Expected, ExpectedField};
use serde::{Deserialize, Serialize};

use super::compose::{Judged, response_head, uses_cache};
use super::decision::Answer;
use super::{fields, upstream};

/// An expectation that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The key of the expectation.
    pub key: String,
    pub expected: String,
    pub actual: String,
}

const NONE: &str = "none";

/// Collects what does not hold.
#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn check(&mut self, key: impl Into<String>, expected: Option<String>, actual: String) {
        match expected {
            Some(expected) if expected != actual => self.0.push(Difference {
                key: key.into(),
                expected,
                actual,
            }),
            _ => {}
        }
    }

    fn fields(
        &mut self,
        key: &str,
        expected: &[(HeaderName, ExpectedField)],
        actual: Option<&HeaderMap>,
    ) {
        for (name, wanted) in expected {
            let found = actual.filter(|headers| headers.contains_key(name));
            let value = found.map(|headers| fields::shown(name, headers));
            let holds = match (wanted, found) {
                (ExpectedField::Absent, found) => found.is_none(),
                (ExpectedField::Present, found) => found.is_some(),
                (ExpectedField::Value(wanted), Some(headers)) => headers
                    .get_all(name)
                    .iter()
                    .any(|value| value.as_bytes() == wanted.as_bytes()),
                (ExpectedField::Value(_), None) => false,
            };
            let expected = match wanted {
                ExpectedField::Absent => "absent",
                ExpectedField::Present => "present",
                ExpectedField::Value(text) => text,
            };
            if !holds {
                self.0.push(Difference {
                    key: format!("{key}.{name}"),
                    expected: expected.to_owned(),
                    actual: value.unwrap_or_else(|| "absent".to_owned()),
                });
            }
        }
    }
}

pub(super) fn differences(judged: &Judged<'_>, expected: &Expected) -> Vec<Difference> {
    let Expected {
        route,
        status,
        code,
        location,
        cluster,
        limits,
        cache,
        upstream_path,
        upstream_headers,
        response_headers,
        shadow,
    } = expected;
    let admitted = judged.outcome.as_ref().ok();
    let cluster_name = admitted
        .and_then(|admitted| admitted.cluster)
        .and_then(|id| judged.snapshot.cluster(id))
        .map(|cluster| cluster.name.to_string());
    let onward = || match &cluster_name {
        Some(cluster) => format!("{NONE}: the request goes to {cluster}"),
        None => NONE.to_owned(),
    };
    let own = |text: Option<String>| text.unwrap_or_else(onward);
    let mut found = Differences::default();
    let name = judged.route().map_or(NONE, |route| &*route.name);
    found.check("route", route.clone(), name.to_owned());
    let answer = Answer::of(judged.outcome);
    let actual = answer.map(|answer| answer.status.to_string());
    found.check(
        "status",
        status.map(|status| status.to_string()),
        own(actual),
    );
    let actual = answer.map(|answer| answer.code.to_owned());
    found.check("code", code.clone(), own(actual));
    let actual = match (&cluster_name, answer) {
        (Some(cluster), _) => cluster.clone(),
        (None, Some(Answer { status, code })) => format!("{NONE}: answered {status} {code}"),
        (None, None) => NONE.to_owned(),
    };
    found.check("cluster", cluster.clone(), actual);
    found.check("limits", limits.clone().map(sorted), limits_of(judged));
    let used = admitted.is_some_and(|admitted| uses_cache(judged, admitted));
    found.check(
        "cache",
        cache.map(|cache| cache.to_string()),
        used.to_string(),
    );
    if upstream_path.is_some() || !upstream_headers.is_empty() {
        let sent = admitted.map(|admitted| upstream::sent(judged, admitted));
        let target = sent.as_ref().and_then(|sent| sent.uri.path_and_query());
        let target = target.map_or(NONE, |target| target.as_str());
        found.check("upstream_path", upstream_path.clone(), target.to_owned());
        let headers = sent.as_ref().map(|sent| &sent.headers);
        found.fields("upstream_headers", upstream_headers, headers);
    }
    if location.is_some() || !response_headers.is_empty() {
        let head = response_head(judged);
        let headers = head.as_ref().map(|head| &head.headers);
        let actual = headers.filter(|headers| headers.contains_key(LOCATION));
        let actual = actual.map(|headers| fields::shown(&LOCATION, headers));
        found.check("location", location.clone(), own(actual));
        found.fields("response_headers", response_headers, headers);
    }
    found.check("shadow", shadow.clone().map(sorted), shadowed(judged));
    found.0
}

fn limits_of(judged: &Judged<'_>) -> String {
    let uses = judged.route().map_or(&[][..], |route| &route.limits);
    let limits = &judged.snapshot.policy.limits;
    let names = uses.iter().filter_map(|used| limits.get(used.id.0));
    sorted(names.map(|limit| limit.name.to_string()).collect())
}

/// Codes of refusals that only counted.
fn shadowed(judged: &Judged<'_>) -> String {
    let refusals = judged.shadowed().iter();
    sorted(refusals.map(|refusal| refusal.code.to_owned()).collect())
}

fn sorted(mut names: Vec<String>) -> String {
    names.sort();
    names.dedup();
    if names.is_empty() {
        return NONE.to_owned();
    }
    names.join(", ")
}
