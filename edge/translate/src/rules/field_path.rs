//! `a.b.c`: a path from a message to one of its fields, resolved to descriptors.
//!
//! Invariant: every step but the last is a singular message field, so that setting a value
//! cannot fail. Names are accepted as written in the proto file and in their JSON form.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// Most steps in one path. A message may contain itself, so a query parameter could otherwise
/// nest as deep as a URL is long.
const STEPS_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldPath(Vec<FieldDescriptor>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldPathError {
    #[error("message `{message}` has no field `{name}`")]
    Unknown { message: String, name: String },
    #[error("`{0}` is not a singular message, so it has no fields to name")]
    NotMessage(String),
    #[error("more than `{STEPS_MAX}` steps")]
    TooDeep,
}

impl FieldPath {
    pub(crate) fn resolve(root: &MessageDescriptor, dotted: &str) -> Result<Self, FieldPathError> {
        let mut message = root.clone();
        let mut steps = Vec::with_capacity(1);
        let mut names = dotted.split('.').peekable();
        while let Some(name) = names.next() {
            if steps.len() == STEPS_MAX {
                return Err(FieldPathError::TooDeep);
            }
            let field = field(&message, name)?;
            if names.peek().is_some() {
                message = match field.kind() {
                    Kind::Message(inner) if !field.is_list() && !field.is_map() => inner,
                    _ => return Err(FieldPathError::NotMessage(name.to_owned())),
                };
            }
            steps.push(field);
        }
        Ok(Self(steps))
    }

    /// The field at the end.
    pub(crate) fn leaf(&self) -> Option<&FieldDescriptor> {
        self.0.last()
    }

    /// Whether `self` is `other` or lies inside it.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    pub(crate) fn begins_with(&self, field: &FieldDescriptor) -> bool {
        self.0.first() == Some(field)
    }

    /// Sets the last field, or appends to it when it is a list. Messages on the way are created.
    ///
    /// # Errors
    /// Another field of a oneof on the way is set: a request that names two contradicts itself,
    /// and letting the last one win would hide the other from whoever looked at the first.
    pub(crate) fn put(&self, root: &mut DynamicMessage, value: Value) -> Result<(), OneofTaken> {
        let mut message = root;
        let mut steps = self.0.iter().peekable();
        while let Some(step) = steps.next() {
            check_oneof(message, step)?;
            if steps.peek().is_none() {
                match message.get_field_mut(step) {
                    Value::List(list) => list.push(value),
                    single => *single = value,
                }
                return Ok(());
            }
            match message.get_field_mut(step) {
                Value::Message(inner) => message = inner,
                _ => return Ok(()), // `resolve` made sure that it is a message
            }
        }
        Ok(())
    }
}

/// A oneof that has another field set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("another field of `{0}` is set already")]
pub(crate) struct OneofTaken(String);

fn check_oneof(message: &DynamicMessage, field: &FieldDescriptor) -> Result<(), OneofTaken> {
    match field.containing_oneof() {
        Some(oneof)
            if oneof
                .fields()
                .any(|other| other != *field && message.has_field(&other)) =>
        {
            Err(OneofTaken(oneof.name().to_owned()))
        }
        _ => Ok(()),
    }
}

pub(crate) fn field(
    message: &MessageDescriptor,
    name: &str,
) -> Result<FieldDescriptor, FieldPathError> {
    message
        .get_field_by_name(name)
        .or_else(|| message.get_field_by_json_name(name))
        .ok_or_else(|| FieldPathError::Unknown {
            message: message.full_name().to_owned(),
            name: name.to_owned(),
        })
}
