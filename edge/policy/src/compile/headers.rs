//! Header names, values and edits.
//!
//! Refuses edits of fields that frame the message or belong to one connection: a policy that
//! sets `content-length` is a request smuggling hole (RFC 9112, 11.2).

use std::collections::HashSet;

use http::{HeaderName, HeaderValue};

use super::patterns::{self, Variables};
use super::{Compiler, values};
use crate::codes;
use crate::diagnostic::{Fault, Mark, shown};
use crate::document::{HeaderEditsDoc, HeaderValueDoc};
use crate::field::{At, Either, Entries, Field, items};
use crate::model::{EditValue, HeaderEdits};

/// More than fits into a request head is no header value.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Fields that frame a message or are for one connection only (RFC 9110, 7.6.1 and 9112).
const PROTECTED: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A field name; upper case is accepted, as names are without case.
pub(super) fn name(text: &str) -> Result<HeaderName, Fault> {
    if text.starts_with(':') {
        let message = format!(
            "{} is a pseudo-header, policies cannot name it",
            shown(text)
        );
        return Err(Fault::new(codes::PROTECTED_HEADER, message));
    }
    // `http` panics on endless names no more than on others; the bound is for the messages.
    if text.len() > values::TEXT_BYTES_MAX {
        return Err(Fault::new(codes::HEADER, "the header name is too long"));
    }
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        Fault::new(
            codes::HEADER,
            format!("{} is not a header name", shown(text)),
        )
    })
}

/// A field name to look for in requests.
pub(super) fn readable_name(text: &str) -> Result<HeaderName, Fault> {
    let name = name(text)?;
    if name.as_str().contains('_') {
        let message = format!(
            "{} has an underscore; the edge removes such fields, so no request has it",
            shown(text)
        );
        return Err(Fault::new(codes::HEADER, message));
    }
    Ok(name)
}

/// A field name that a policy may change.
pub(super) fn editable_name(text: &str) -> Result<HeaderName, Fault> {
    let name = name(text)?;
    if PROTECTED.contains(&name.as_str()) {
        let message = format!(
            "{} frames the message or belongs to the connection, policies cannot change it",
            shown(text)
        );
        return Err(Fault::new(codes::PROTECTED_HEADER, message));
    }
    Ok(name)
}

/// Visible ASCII, spaces and tabs, none at the ends (RFC 9110, 5.5). The value is not repeated:
/// it may be a credential for the upstream.
pub(super) fn value(text: &str) -> Result<HeaderValue, Fault> {
    let fault = |why: &str| Fault::new(codes::HEADER, format!("the header value {why}")).conceal();
    if text.len() > values::TEXT_BYTES_MAX {
        return Err(fault("is too long"));
    }
    if !text.bytes().all(|byte| matches!(byte, b'\t' | 0x20..0x7f)) {
        return Err(fault(
            "has a line break, a control character or a character outside of ASCII",
        ));
    }
    if text.trim_matches([' ', '\t']) != text {
        return Err(fault("begins or ends with a space"));
    }
    HeaderValue::from_str(text).map_err(|_| fault("cannot be sent"))
}

/// A value of `set` or `add`, with variables or without.
fn edit_value(name: Option<&HeaderName>, text: &str) -> Result<EditValue, Fault> {
    value(text)?;
    let pattern = patterns::field_value(text);
    if pattern.captures().next().is_none() {
        let mut value = value(&pattern.expand(|_| None))?;
        value.set_sensitive(name.is_some_and(is_credential));
        return Ok(EditValue::Text(value));
    }
    if name.is_some_and(is_credential) {
        let fault = Fault::new(
            codes::VARIABLE,
            "the value has a variable, and credentials are not made of requests",
        );
        return Err(fault
            .hint("write `{{name}}` where the braces themselves are meant")
            .conceal());
    }
    Ok(EditValue::Pattern(pattern))
}

/// Values that no Debug output shows, and that HTTP/2 does not index (RFC 7541, 7.1.3).
fn is_credential(name: &HeaderName) -> bool {
    let name = name.as_str();
    ["authorization", "cookie", "key", "token", "secret"]
        .iter()
        .any(|word| name.contains(word))
}

impl Compiler<'_> {
    /// `variables` of the route; none where the edits are of no route yet.
    pub(super) fn header_edits(
        &mut self,
        field: &Field<HeaderEditsDoc>,
        variables: Option<&Variables>,
    ) -> HeaderEdits {
        let Some(at) = field.given() else {
            return HeaderEdits::default();
        };
        let mut remove = Vec::new();
        let mut seen = HashSet::new();
        for item in items(&at.value.remove) {
            if let Some(name) = self.report.check(item.mark, editable_name(&item.value))
                && self.is_first(item, &name, &mut seen)
            {
                remove.push(name);
            }
        }
        let set = self.edits(&at.value.set, variables);
        let add = self.edits(&at.value.add, variables);
        HeaderEdits { remove, set, add }
    }

    fn edits(
        &mut self,
        field: &Field<Entries<Either<HeaderValueDoc>>>,
        variables: Option<&Variables>,
    ) -> Vec<(HeaderName, EditValue)> {
        let mut edits = Vec::new();
        let mut seen = HashSet::new();
        for (key, written) in field.given().into_iter().flat_map(|at| &at.value.0) {
            let name = self.report.check(key.mark, editable_name(&key.value));
            let value = written
                .given()
                .and_then(|at| self.edit(name.as_ref(), at, variables));
            if let (Some(name), Some(value)) = (name, value)
                && self.is_first(key, &name, &mut seen)
            {
                edits.push((name, value));
            }
        }
        edits
    }

    fn edit(
        &mut self,
        name: Option<&HeaderName>,
        at: &At<Either<HeaderValueDoc>>,
        variables: Option<&Variables>,
    ) -> Option<EditValue> {
        let text = match &at.value {
            Either::Plain(text) => text,
            Either::Full(doc) => return self.secret(doc, at.mark).map(EditValue::Text),
        };
        let value = self.report.check(at.mark, edit_value(name, text))?;
        if let (EditValue::Pattern(pattern), Some(variables)) = (&value, variables) {
            self.known(at.mark, pattern, variables);
        }
        Some(value)
    }

    /// What comes from a file is a secret, whatever the field is called.
    fn secret(&mut self, doc: &HeaderValueDoc, mark: Mark) -> Option<HeaderValue> {
        let path = self.required(&doc.file, mark, "header value", "file")?;
        let bytes = self.input(path, SECRET_BYTES_MAX)?;
        // Editors and `echo` end a file with a line break.
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let text = std::str::from_utf8(text).map_err(|_| {
            let message = format!("{} does not hold text", shown(&path.value));
            Fault::new(codes::HEADER, message)
        });
        let text = self.report.check(path.mark, text)?;
        // The line shows a path, and no secret.
        let value = value(text).map_err(|fault| {
            let message = format!("{}: {}", shown(&path.value), fault.message);
            Fault::new(codes::HEADER, message)
        });
        let mut value = self.report.check(path.mark, value)?;
        if value.is_empty() {
            let message = format!("{} is empty", shown(&path.value));
            self.report
                .push(path.mark, Fault::new(codes::HEADER, message));
        }
        value.set_sensitive(true);
        Some(value)
    }

    /// Two spellings of one name are one name.
    pub(super) fn is_first(
        &mut self,
        written: &At<String>,
        name: &HeaderName,
        seen: &mut HashSet<HeaderName>,
    ) -> bool {
        let is_first = seen.insert(name.clone());
        if !is_first {
            let message = format!("{} is listed twice", shown(&written.value));
            self.report
                .push(written.mark, Fault::new(codes::REPEATED, message));
        }
        is_first
    }
}
