//! One HTTP method and path template bound to one RPC.
//!
//! Invariant: immutable, fully resolved against the descriptors.

use std::sync::Arc;

use http::Method;
use prost_reflect::FieldDescriptor;

use crate::json::reply::ResponseBody;
use crate::rpc::Rpc;
use crate::rules::field_path::FieldPath;
use crate::rules::template::Span;

/// The HTTP method of a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundMethod {
    Exact(Method),
    /// `custom: { kind: "*" }`: whatever no other rule of the same template names.
    Any,
}

impl BoundMethod {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::Any),
            other => Method::from_bytes(other.as_bytes()).ok().map(Self::Exact),
        }
    }

    /// The method's name, or `*`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(method) => method.as_str(),
            Self::Any => "*",
        }
    }
}

/// Where a rule puts the request body.
#[derive(Debug)]
pub(crate) enum RequestBody {
    None,
    Whole,
    Field(FieldDescriptor),
}

/// A path variable.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) field: FieldPath,
    /// As the template writes it.
    pub(crate) name: Box<str>,
    pub(crate) span: Span,
    pub(crate) keeps_slash: bool,
}

/// One `google.api.http` rule of one RPC.
#[derive(Debug)]
pub struct Binding {
    pub(crate) rpc: Arc<Rpc>,
    pub(crate) method: BoundMethod,
    pub(crate) template: Box<str>,
    /// Length of `:verb`, 0 without one.
    pub(crate) verb_bytes: usize,
    pub(crate) captures: Vec<Capture>,
    pub(crate) body: RequestBody,
    pub(crate) response: ResponseBody,
}

/// A binding in words, for `explain` and for documents.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BindingInfo<'a> {
    /// Full name, for instance `shop.v1.Orders.Get`.
    pub rpc: &'a str,
    pub method: &'a BoundMethod,
    /// As written in the rule, for instance `/v1/orders/{id}`.
    pub template: &'a str,
    /// `None`, `*` or the name of the field the body is read into.
    pub body: Option<&'a str>,
}

impl Binding {
    #[must_use]
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// The binding in words.
    #[must_use]
    pub fn info(&self) -> BindingInfo<'_> {
        BindingInfo {
            rpc: &self.rpc.name,
            method: &self.method,
            template: &self.template,
            body: match &self.body {
                RequestBody::None => None,
                RequestBody::Whole => Some("*"),
                RequestBody::Field(field) => Some(field.name()),
            },
        }
    }
}
