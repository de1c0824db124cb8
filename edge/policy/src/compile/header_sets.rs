//! Edits of a route: those of its header sets, one after the other, and its own after them.
//!
//! Invariant: the one list that is made of them does what all of them would do in a row.

use std::collections::HashSet;

use super::patterns::Variables;
use super::routes::{Defined, Names};
use super::{Compiler, quoted};
use crate::codes;
use crate::diagnostic::{Fault, Mark, shown};
use crate::document::{HeaderSetDoc, Settings};
use crate::field::{At, items};
use crate::model::{EditValue, HeaderEdits};

/// Edits of one kind on one route, those of its sets among them; each is work on every request.
const EDITS_MAX: usize = 64;
/// Header sets of one route.
const SETS_MAX: usize = 16;

/// A definition among `header_sets`.
pub(super) struct HeaderSet {
    request: HeaderEdits,
    response: HeaderEdits,
}

impl Compiler<'_> {
    pub(super) fn header_set(&mut self, at: &At<HeaderSetDoc>) -> HeaderSet {
        let doc = &at.value;
        if doc.request.is_absent() && doc.response.is_absent() {
            let message = "the header set has neither `request` nor `response`".to_owned();
            self.missing(at.mark, message);
        }
        // Its variables are those of the routes that use it.
        let request = self.header_edits(&doc.request, None);
        let response = self.header_edits(&doc.response, None);
        self.bound(&request, Some(at.mark));
        self.bound(&response, Some(at.mark));
        HeaderSet { request, response }
    }

    /// What a route does to the fields of requests, and to those of responses.
    pub(super) fn headers(
        &mut self,
        settings: &Settings<'_>,
        variables: &Variables,
        (names, defined): (&Names<'_>, &Defined<'_>),
        owner: &str,
    ) -> (HeaderEdits, HeaderEdits) {
        let mut request = HeaderEdits::default();
        let mut response = HeaderEdits::default();
        let mut used = HashSet::new();
        let mut last = None;
        for reference in items(settings.header_sets) {
            let Some(position) = self.find(reference, &names.header_sets, owner) else {
                continue;
            };
            last = Some(reference.mark);
            if !used.insert(position) {
                let message = format!("{} is listed twice", shown(&reference.value));
                self.report
                    .push(reference.mark, Fault::new(codes::REPEATED, message));
                continue;
            }
            if used.len() > SETS_MAX {
                let message = format!("more than {SETS_MAX} header sets");
                self.report
                    .push(reference.mark, Fault::new(codes::TOO_MUCH, message));
                break;
            }
            let Some(set) = defined.header_sets.get(position) else {
                continue;
            };
            for (edits, sum) in [(&set.request, &mut request), (&set.response, &mut response)] {
                self.check_variables(edits, variables, (reference, owner));
                append(sum, edits);
            }
        }
        let own = [
            (settings.request_headers, &mut request),
            (settings.response_headers, &mut response),
        ];
        for (field, sum) in own {
            append(sum, &self.header_edits(field, Some(variables)));
            self.bound(sum, field.given().map(|at| at.mark).or(last));
        }
        (request, response)
    }

    fn check_variables(
        &mut self,
        edits: &HeaderEdits,
        variables: &Variables,
        (reference, owner): (&At<String>, &str),
    ) {
        for (_, value) in edits.set.iter().chain(&edits.add) {
            let EditValue::Pattern(pattern) = value else {
                continue;
            };
            if let Err(mut fault) = variables.check(pattern) {
                let set = quoted(&reference.value);
                fault.message = format!("header set {set} on {owner}: {}", fault.message);
                self.report.push(reference.mark, fault);
            }
        }
    }

    fn bound(&mut self, edits: &HeaderEdits, mark: Option<Mark>) {
        let counts = [edits.remove.len(), edits.set.len(), edits.add.len()];
        if let Some(mark) = mark.filter(|_| counts.iter().any(|count| *count > EDITS_MAX)) {
            let message = format!("more than {EDITS_MAX} edits of one kind");
            self.report.push(mark, Fault::new(codes::TOO_MUCH, message));
        }
    }
}

/// `next` after `sum`. A field that `next` removes or sets has nothing left of before.
fn append(sum: &mut HeaderEdits, next: &HeaderEdits) {
    for name in &next.remove {
        sum.set.retain(|(other, _)| other != name);
        sum.add.retain(|(other, _)| other != name);
        if !sum.remove.contains(name) {
            sum.remove.push(name.clone());
        }
    }
    for (name, value) in &next.set {
        sum.set.retain(|(other, _)| other != name);
        sum.add.retain(|(other, _)| other != name);
        sum.set.push((name.clone(), value.clone()));
    }
    sum.add.extend(next.add.iter().cloned());
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn apply(edits: &HeaderEdits, map: &mut HeaderMap) {
        let text = |value: &EditValue| match value {
            EditValue::Text(value) => value.clone(),
            EditValue::Pattern(pattern) => panic!("{pattern:?}"),
        };
        for name in &edits.remove {
            map.remove(name);
        }
        for (name, value) in &edits.set {
            map.insert(name.clone(), text(value));
        }
        for (name, value) in &edits.add {
            map.append(name.clone(), text(value));
        }
    }

    fn name() -> impl Strategy<Value = HeaderName> {
        (0..3_u8).prop_map(|n| HeaderName::from_bytes(&[b'a' + n]).unwrap())
    }

    fn pairs() -> impl Strategy<Value = Vec<(HeaderName, EditValue)>> {
        let value = (0..9_u16).prop_map(|n| EditValue::Text(HeaderValue::from(n)));
        // A policy cannot set a field twice in one place.
        proptest::collection::vec((name(), value), 0..3).prop_map(|mut pairs| {
            let mut seen = HashSet::new();
            pairs.retain(|(name, _)| seen.insert(name.clone()));
            pairs
        })
    }

    fn edits() -> impl Strategy<Value = HeaderEdits> {
        let remove = proptest::collection::vec(name(), 0..3);
        let lists = (remove, pairs(), pairs());
        lists.prop_map(|(remove, set, add)| HeaderEdits { remove, set, add })
    }

    proptest! {
        #[test]
        fn one_list_does_what_all_do_in_a_row(lists in proptest::collection::vec(edits(), 0..5)) {
            let mut sum = HeaderEdits::default();
            let mut expected: HeaderMap = [(HeaderName::from_static("a"), HeaderValue::from(99))]
                .into_iter()
                .collect();
            let mut actual = expected.clone();
            for list in &lists {
                append(&mut sum, list);
                apply(list, &mut expected);
            }
            apply(&sum, &mut actual);
            prop_assert_eq!(actual, expected);
        }
    }
}
