//! Request messages against the `buf.validate` rules of their descriptors, before they cost a call.
//!
//! Invariant: a rule that this evaluator cannot take is known when the descriptors are read, never
//! found out by a request. Refuses to repeat offending values: one may be a password. Refuses CEL:
//! the evaluator has no bound on what an expression may cost, and the input is a stranger's; such
//! rules are left to the service, which validates again anyway.

mod compile;
mod schema;

use std::collections::HashSet;

use prost::Message;
use prost_protovalidate::types::field_path_element::Subscript;
use prost_protovalidate::types::{FieldPath, FieldPathElement};
use prost_protovalidate::{Error as RuleError, ValidationError, ValidationOption, Validator};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor};

use crate::rpc::Rpc;
use crate::status::details::Violation;
use crate::status::problem::Rejection;

/// Messages up to this length are told all that is wrong with them; of longer ones only the first
/// thing. A megabyte can break a rule a million times, and each violation takes about a kilobyte.
const ALL_VIOLATIONS_BYTES_MAX: usize = 4 * 1024;

/// More broken rules than this help nobody.
const VIOLATIONS_MAX: usize = 64;

/// The compiled rules of all requests of one translator.
pub(crate) struct Rules {
    validator: Validator,
    /// Full names of the messages that have rules, or hold messages that have.
    ruled: HashSet<Box<str>, ahash::RandomState>,
    /// Rules this evaluator does not take: CEL, predefined ones, and those newer than it.
    left_out: usize,
    proto_names: bool,
}

impl Rules {
    pub(crate) fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether requests of this RPC can break a rule at all.
    pub(crate) fn concern(&self, rpc: &Rpc) -> bool {
        self.ruled.contains(rpc.input.full_name())
    }

    /// The evaluator makes a copy of the message, which is most of what a check costs.
    pub(crate) fn check(&self, rpc: &Rpc, message: &DynamicMessage) -> Result<(), Rejection> {
        if !self.concern(rpc) {
            return Ok(());
        }
        let options: &[_] = if message.encoded_len() > ALL_VIOLATIONS_BYTES_MAX {
            &[ValidationOption::FailFast]
        } else {
            &[]
        };
        match self.validator.validate_with(message, options) {
            Ok(()) => Ok(()),
            Err(RuleError::Validation(broken)) => Err(self.rejection(rpc, &broken)),
            Err(error) => {
                // Every rule compiled; should one fail nevertheless, the service has the word.
                tracing::warn!(rpc = %rpc.name, %error, "a request could not be validated");
                Ok(())
            }
        }
    }

    fn rejection(&self, rpc: &Rpc, broken: &ValidationError) -> Rejection {
        let violations = broken.violations().iter().take(VIOLATIONS_MAX);
        let violations = violations.map(|violation| {
            let path = violation.to_proto().field.unwrap_or_default();
            Violation::new(
                &json_path(&rpc.input, &path, self.proto_names),
                &describe(violation.rule_id(), violation.message()),
                violation.rule_id(),
            )
        });
        Rejection::invalid(violations.collect())
    }
}

/// `addresses[2].postCode`, `labels["a"]`: as the client wrote it.
fn json_path(root: &MessageDescriptor, path: &FieldPath, proto_names: bool) -> String {
    let mut message = Some(root.clone());
    let mut text = String::new();
    for element in &path.elements {
        let name = element.field_name.as_deref().unwrap_or_default();
        let field = message.and_then(|message| message.get_field_by_name(name));
        if !text.is_empty() && !name.is_empty() {
            text.push('.');
        }
        match &field {
            // A oneof's name is nobody's but the proto file's.
            Some(field) if !proto_names => text.push_str(field.json_name()),
            _ => text.push_str(name),
        }
        text.push_str(&subscript(element));
        message = field.and_then(|field| match field.kind() {
            Kind::Message(entry) if field.is_map() => match entry.map_entry_value_field().kind() {
                Kind::Message(value) => Some(value),
                _ => None,
            },
            Kind::Message(inner) => Some(inner),
            _ => None,
        });
    }
    text
}

fn subscript(element: &FieldPathElement) -> String {
    match &element.subscript {
        None => String::new(),
        Some(Subscript::Index(at)) => format!("[{at}]"),
        Some(Subscript::BoolKey(key)) => format!("[{key}]"),
        Some(Subscript::IntKey(key)) => format!("[{key}]"),
        Some(Subscript::UintKey(key)) => format!("[{key}]"),
        Some(Subscript::StringKey(key)) => {
            format!("[{}]", serde_json::Value::from(key.as_str()))
        }
    }
}

/// Words for a person: well-known formats come without any.
fn describe(rule: &str, message: &str) -> String {
    if !message.is_empty() {
        return message.to_owned();
    }
    let what = match rule.strip_suffix("_empty").unwrap_or(rule) {
        "required" => return "one of its fields must be set".to_owned(),
        "string.email" => "an e-mail address",
        "string.hostname" => "a host name",
        "string.ip" | "bytes.ip" => "an IP address",
        "string.ipv4" | "bytes.ipv4" => "an IPv4 address",
        "string.ipv6" | "bytes.ipv6" => "an IPv6 address",
        "string.uri" => "a URI",
        "string.uri_ref" => "a URI reference",
        "string.address" => "a host name or an IP address",
        "string.uuid" | "bytes.uuid" => "a UUID",
        "string.host_and_port" => "a host and a port",
        _ => return format!("breaks the rule `{rule}`"),
    };
    format!("must be {what}")
}
