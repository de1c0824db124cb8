//! `google.api.HttpRule`, and the binding it stands for.
//!
//! Invariant: whatever a rule names (fields, methods, templates) has been found in the
//! descriptors by the time a binding exists; nothing is left that could fail per request.

use std::sync::Arc;

use http::Method;
use prost_reflect::MessageDescriptor;

use crate::Error;
use crate::json::reply::ResponseBody;
use crate::json::scalar;
use crate::rpc::Rpc;
use crate::rules::binding::{Binding, BoundMethod, Capture, RequestBody};
use crate::rules::field_path::{self, FieldPath};
use crate::rules::template::{self, Template};

/// The wire form of `google.api.HttpRule`. The oneof `pattern` is read as plain fields: an
/// encoder writes at most one of them.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HttpRule {
    #[prost(string, optional, tag = "2")]
    get: Option<String>,
    #[prost(string, optional, tag = "3")]
    put: Option<String>,
    #[prost(string, optional, tag = "4")]
    post: Option<String>,
    #[prost(string, optional, tag = "5")]
    delete: Option<String>,
    #[prost(string, optional, tag = "6")]
    patch: Option<String>,
    #[prost(message, optional, tag = "8")]
    custom: Option<CustomHttpPattern>,
    #[prost(string, tag = "7")]
    body: String,
    #[prost(string, tag = "12")]
    response_body: String,
    #[prost(message, repeated, tag = "11")]
    pub(crate) additional_bindings: Vec<HttpRule>,
}

/// The wire form of `google.api.CustomHttpPattern`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CustomHttpPattern {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    path: String,
}

impl HttpRule {
    fn pattern(&self, rpc: &str) -> Result<(BoundMethod, &str), Error> {
        let plain = [
            (&self.get, Method::GET),
            (&self.put, Method::PUT),
            (&self.post, Method::POST),
            (&self.delete, Method::DELETE),
            (&self.patch, Method::PATCH),
        ];
        for (path, method) in plain {
            if let Some(path) = path {
                return Ok((BoundMethod::Exact(method), path));
            }
        }
        let custom = self.custom.as_ref().ok_or_else(|| Error::NoPattern {
            rpc: rpc.to_owned(),
        })?;
        let method = BoundMethod::parse(&custom.kind).ok_or_else(|| Error::Method {
            rpc: rpc.to_owned(),
            method: custom.kind.clone(),
        })?;
        Ok((method, &custom.path))
    }

    /// Resolves this rule (not its additional bindings) against the RPC it belongs to.
    pub(crate) fn bind(&self, called: &Arc<Rpc>) -> Result<(Binding, Template), Error> {
        let rpc = called.name();
        let (bound, text) = self.pattern(rpc)?;
        let template_error = |reason: String| Error::Template {
            rpc: rpc.to_owned(),
            template: text.to_owned(),
            reason,
        };
        let template = template::parse(text).map_err(|e| template_error(e.to_string()))?;
        let captures = captures(rpc, text, &template, &called.input)?;
        let binding = Binding {
            rpc: called.clone(),
            method: bound,
            template: text.into(),
            verb_bytes: template.verb.as_ref().map_or(0, |verb| verb.len() + 1),
            captures,
            body: self.request_body(rpc, &called.input)?,
            response: ResponseBody::new(&called.output, &self.response_body).map_err(|reason| {
                Error::ResponseBody {
                    rpc: rpc.to_owned(),
                    field: self.response_body.clone(),
                    reason,
                }
            })?,
        };
        Ok((binding, template))
    }

    fn request_body(&self, rpc: &str, input: &MessageDescriptor) -> Result<RequestBody, Error> {
        let error = |reason: String| Error::Body {
            rpc: rpc.to_owned(),
            field: self.body.clone(),
            reason,
        };
        match &*self.body {
            "" => Ok(RequestBody::None),
            "*" => Ok(RequestBody::Whole),
            // Their JSON form is not an object, so it has no place for one field.
            _ if input.full_name().starts_with("google.protobuf.") => {
                Err(error("the request is a well-known type".to_owned()))
            }
            name => field_path::field(input, name)
                .map(RequestBody::Field)
                .map_err(|e| error(e.to_string())),
        }
    }
}

fn captures(
    rpc: &str,
    text: &str,
    template: &Template,
    input: &MessageDescriptor,
) -> Result<Vec<Capture>, Error> {
    let mut captures: Vec<Capture> = Vec::with_capacity(template.variables.len());
    for variable in &template.variables {
        let error = |reason: String| Error::Variable {
            rpc: rpc.to_owned(),
            template: text.to_owned(),
            field: variable.field.to_string(),
            reason,
        };
        let field = FieldPath::resolve(input, &variable.field).map_err(|e| error(e.to_string()))?;
        let Some(leaf) = field.leaf() else {
            return Err(error("is empty".to_owned()));
        };
        if leaf.is_list() || leaf.is_map() {
            return Err(error("a repeated field cannot be in a path".to_owned()));
        }
        scalar::check(&leaf.kind()).map_err(|e| error(e.to_string()))?;
        if captures.iter().any(|c| c.field == field) {
            return Err(error("this field is bound twice".to_owned()));
        }
        captures.push(Capture {
            field,
            name: variable.field.clone(),
            span: variable.span,
            keeps_slash: variable.keeps_slash,
        });
    }
    Ok(captures)
}
