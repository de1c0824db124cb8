//! Tests of policies: each case is asked as a question, and what it expects is held against the answer.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

use palisade_policy::model::TestCase;
use palisade_policy::routing::Rule;
use serde::{Deserialize, Serialize};

use super::compose::{explanation, judge, place};
use super::expectations::differences;
use super::explanation::Place;
use super::question::{Certificate, Question};
use super::{candidates, text};
use crate::snapshot::Snapshot;

pub use super::expectations::Difference;

/// Failed cases that a refused reload shows; the rest is counted.
const SHOWN_MAX: usize = 20;

/// What became of all cases.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    pub passed: usize,
    /// In the order of the files.
    pub failed: Vec<Failure>,
    pub coverage: Vec<Covered>,
}

/// A case of which something did not hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    pub name: String,
    pub at: Place,
    pub differences: Vec<Difference>,
    /// What would happen, in one line.
    pub outcome: String,
}

/// How many cases a rule of a route took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Covered {
    pub route: String,
    pub at: Place,
    pub rule: String,
    pub cases: usize,
}

/// Run the cases whose name contains `filter`.
pub fn run(snapshot: &Snapshot, filter: &str) -> Report {
    let mut report = Report::default();
    let mut taken = Taken::new();
    let cases = snapshot.policy.tests.iter();
    for case in cases.filter(|case| case.name.contains(filter)) {
        match run_one(snapshot, case, &mut taken) {
            None => report.passed += 1,
            Some(failure) => report.failed.push(failure),
        }
    }
    let rules = snapshot.policy.routes.rules().iter();
    let covered = rules.map(|rule| Covered {
        route: rule.route.name.to_string(),
        at: place(&rule.route.origin),
        rule: candidates::shown(rule),
        cases: taken.get(&Arc::as_ptr(rule)).copied().unwrap_or_default(),
    });
    report.coverage = covered.collect();
    report
}

/// Cases by the rule that took them; the snapshot keeps rules where they are.
type Taken = HashMap<*const Rule, usize>;

fn run_one(snapshot: &Snapshot, case: &TestCase, taken: &mut Taken) -> Option<Failure> {
    let judged = judge(snapshot, &question(case), |judged| {
        if let Some(rule) = judged.rule() {
            *taken.entry(Arc::as_ptr(rule)).or_default() += 1;
        }
        let differences = differences(judged, &case.expect);
        (!differences.is_empty()).then(|| (differences, text::outcome(&explanation(judged, false))))
    });
    let (differences, outcome) = match judged {
        Ok(held) => held?,
        Err(unaskable) => (Vec::new(), unaskable.to_string()),
    };
    Some(Failure {
        name: case.name.to_string(),
        at: place(&case.origin),
        differences,
        outcome: anstream::adapter::strip_str(&outcome).to_string(),
    })
}

fn question(case: &TestCase) -> Question {
    let request = &case.request;
    let headers = request.headers.iter();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let at = case
        .at
        .and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    Question {
        method: request.method.to_string(),
        url: request.url.clone(),
        headers: headers
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        client: request.client,
        claims: request.claims.clone(),
        certificate: request.certificate.as_ref().map(|certificate| Certificate {
            subject: certificate.subject.clone(),
            sans: certificate.sans.clone(),
            sha256: certificate.sha256.clone(),
        }),
        at: at.map(|at| at.as_secs()),
        request_id: None,
        https_port: None,
        of_route: None,
    }
}

impl Report {
    /// Rules that took no case.
    pub fn untested(&self) -> impl Iterator<Item = &Covered> {
        self.coverage.iter().filter(|covered| covered.cases == 0)
    }

    /// Every failure with its differences; none where all passed.
    pub fn failures(&self) -> Option<String> {
        let mut out = String::new();
        for failure in self.failed.iter().take(SHOWN_MAX) {
            // Writing to a string cannot fail.
            let _ = write!(out, "{failure}");
        }
        if let Some(more) = self.failed.len().checked_sub(SHOWN_MAX + 1) {
            let _ = writeln!(out, "and {} more", more + 1);
        }
        (!out.is_empty()).then_some(out)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}: test \"{}\" failed", self.at, self.name)?;
        let width = self
            .differences
            .iter()
            .map(|it| it.key.len())
            .max()
            .unwrap_or(0);
        for Difference {
            key,
            expected,
            actual,
        } in &self.differences
        {
            writeln!(f, "  {key:width$}  expected {expected}")?;
            writeln!(f, "  {:width$}  actual   {actual}", "")?;
        }
        writeln!(f, "  {}", self.outcome)
    }
}
