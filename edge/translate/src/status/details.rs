//! What a service says about an error beside its code: `google.rpc` details as members of a problem
//! document.
//!
//! Invariant: bounded in number and in length, whatever the service sends. `DebugInfo` is the
//! service's own, and `RequestInfo` would name another request than the edge's: both stay inside.

use std::collections::BTreeMap;

use serde::Serialize;
use tonic_types::ErrorDetails;

use crate::json::well_known::duration_text;
use crate::rpc::Rpc;

/// Longest text, in bytes. Parsers quote their input, which may be a megabyte.
const TEXT_BYTES_MAX: usize = 1024;

/// Most entries of each list and map.
const ENTRIES_MAX: usize = 64;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Details {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Violation>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_delay: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quota_violations: Vec<QuotaViolation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    precondition_violations: Vec<PreconditionViolation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<Resource>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    localized_message: Option<LocalizedMessage>,
}

/// What is wrong with one field of a request.
#[derive(Debug, Serialize)]
pub(crate) struct Violation {
    /// As the client wrote it, for instance `addresses[0].postalCode`.
    pub(crate) field: String,
    pub(crate) description: String,
    /// Of `buf.validate`, for programs.
    #[serde(skip_serializing_if = "String::is_empty")]
    rule: String,
    /// The service's own word for it, for programs.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

impl Violation {
    pub(crate) fn new(field: &str, description: &str, rule: &str) -> Self {
        Self {
            field: truncated(field),
            description: truncated(description),
            rule: truncated(rule),
            reason: String::new(),
        }
    }
}

#[derive(Debug, Serialize)]
struct QuotaViolation {
    subject: String,
    description: String,
}

#[derive(Debug, Serialize)]
struct PreconditionViolation {
    r#type: String,
    subject: String,
    description: String,
}

#[derive(Debug, Serialize)]
struct Resource {
    r#type: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    owner: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
}

#[derive(Debug, Serialize)]
struct Link {
    description: String,
    url: String,
}

#[derive(Debug, Serialize)]
struct LocalizedMessage {
    locale: String,
    message: String,
}

impl Details {
    /// Those that the service answered a call of `rpc` with.
    pub(crate) fn of(rpc: &Rpc, sent: &ErrorDetails) -> Self {
        let mut details = Self::default();
        details.failures(rpc, sent);
        if let Some(info) = sent.error_info() {
            details.reason = truncated(&info.reason);
            details.domain = truncated(&info.domain);
            let entries = info.metadata.iter().take(ENTRIES_MAX);
            details.metadata = entries
                .map(|(name, value)| (truncated(name), truncated(value)))
                .collect();
        }
        details.retry_delay = sent.retry_info().and_then(|info| {
            let delay = info.retry_delay?;
            let nanos = i32::try_from(delay.subsec_nanos()).ok()?;
            duration_text(i64::try_from(delay.as_secs()).ok()?, nanos)
        });
        details.resource = sent.resource_info().map(|info| Resource {
            r#type: truncated(&info.resource_type),
            name: truncated(&info.resource_name),
            owner: truncated(&info.owner),
            description: truncated(&info.description),
        });
        if let Some(help) = sent.help() {
            let links = help.links.iter().take(ENTRIES_MAX);
            details.links = links
                .map(|link| Link {
                    description: truncated(&link.description),
                    url: truncated(&link.url),
                })
                .collect();
        }
        details.localized_message = sent.localized_message().map(|told| LocalizedMessage {
            locale: truncated(&told.locale),
            message: truncated(&told.message),
        });
        details
    }

    fn failures(&mut self, rpc: &Rpc, sent: &ErrorDetails) {
        if let Some(bad) = sent.bad_request() {
            let violations = bad.field_violations.iter().take(ENTRIES_MAX);
            self.errors = violations
                .map(|violation| Violation {
                    reason: truncated(&violation.reason),
                    ..Violation::new(&rpc.json_path(&violation.field), &violation.description, "")
                })
                .collect();
        }
        if let Some(quota) = sent.quota_failure() {
            let violations = quota.violations.iter().take(ENTRIES_MAX);
            self.quota_violations = violations
                .map(|violation| QuotaViolation {
                    subject: truncated(&violation.subject),
                    description: truncated(&violation.description),
                })
                .collect();
        }
        if let Some(failed) = sent.precondition_failure() {
            let violations = failed.violations.iter().take(ENTRIES_MAX);
            self.precondition_violations = violations
                .map(|violation| PreconditionViolation {
                    r#type: truncated(&violation.r#type),
                    subject: truncated(&violation.subject),
                    description: truncated(&violation.description),
                })
                .collect();
        }
    }
}

/// The text, or its beginning.
pub(crate) fn truncated(text: &str) -> String {
    let head = text.floor_char_boundary(TEXT_BYTES_MAX);
    match text.get(..head) {
        Some(head) if head.len() < text.len() => format!("{head}…"),
        _ => text.to_owned(),
    }
}
