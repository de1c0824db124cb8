//! A binding for those who write it down: its path piece by piece, and where the bodies are.

use prost_reflect::FieldDescriptor;

use super::binding::{Binding, BoundMethod, RequestBody};
use super::template::{self, Segment, Span};
use crate::json::reply::ResponseBody;

/// One segment of a path template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub segment: Segment,
    /// Path of the field whose variable it is a part of.
    pub variable: Option<Box<str>>,
}

/// The part of a message that is a body.
#[derive(Debug, Clone, Copy)]
pub enum BodyPart<'b> {
    None,
    Whole,
    Field(&'b FieldDescriptor),
}

impl Binding {
    #[must_use]
    pub fn method(&self) -> &BoundMethod {
        &self.method
    }

    /// The segments of the template, and its `:verb`.
    #[must_use]
    pub fn shape(&self) -> (Vec<Piece>, Option<Box<str>>) {
        // It was parsed before: a binding without a good template does not exist.
        let Ok(template) = template::parse(&self.template) else {
            return (Vec::new(), None);
        };
        let pieces = template.segments.into_iter().enumerate();
        let pieces = pieces.map(|(at, segment)| {
            let mut variables = template.variables.iter();
            let holds = |span: Span| span.first <= at && span.end.is_none_or(|end| at < end);
            let variable = variables.find(|variable| holds(variable.span));
            Piece {
                segment,
                variable: variable.map(|variable| variable.field.clone()),
            }
        });
        (pieces.collect(), template.verb)
    }

    /// What the request's body is read into.
    #[must_use]
    pub fn request_part(&self) -> BodyPart<'_> {
        match &self.body {
            RequestBody::None => BodyPart::None,
            RequestBody::Whole => BodyPart::Whole,
            RequestBody::Field(field) => BodyPart::Field(field),
        }
    }

    /// What the response's body is written from.
    #[must_use]
    pub fn response_part(&self) -> BodyPart<'_> {
        match &self.response {
            ResponseBody::Whole => BodyPart::Whole,
            ResponseBody::Field(field) => BodyPart::Field(field),
        }
    }
}
