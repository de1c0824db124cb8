//! Parameters of the path and of the query.
//!
//! Fields that neither path nor body set may stand in the query, those of nested messages with
//! dots between the names. Lists of messages and maps have no form there.

use palisade_translate::{Binding, BodyPart};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Value, json};

use crate::paths::{Template, Variable};
use crate::schema::{Schemas, Source, set};
use crate::well_known;

/// Messages within messages that a query names; deeper ones are taken, but not listed.
const DEPTH_MAX: usize = 4;
/// Most parameters of one operation that are listed.
const PARAMETERS_MAX: usize = 128;

pub(crate) fn parameters(
    schemas: &mut Schemas,
    source: &Source<'_>,
    binding: &Binding,
    template: &Template,
) -> Vec<Value> {
    let input = binding.rpc().descriptor().input();
    let variables = template.variables.iter();
    let mut all: Vec<_> = variables
        .map(|variable| of_path(schemas, source, binding, &input, variable))
        .collect();
    let in_query = match binding.request_part() {
        BodyPart::Whole => return all,
        BodyPart::None => None,
        BodyPart::Field(field) => Some(field.clone()),
    };
    let mut query = Query {
        schemas,
        source,
        in_path: &template.variables,
        found: Vec::new(),
        open: vec![input.clone()],
    };
    for field in input
        .fields()
        .filter(|field| Some(field) != in_query.as_ref())
    {
        query.add("", "", &field);
    }
    all.extend(query.found);
    all
}

fn of_path(
    schemas: &mut Schemas,
    source: &Source<'_>,
    binding: &Binding,
    input: &MessageDescriptor,
    variable: &Variable,
) -> Value {
    let field = variable.field.as_deref().and_then(|path| leaf(input, path));
    let mut words = Vec::new();
    let mut schema = match &field {
        Some(field) if variable.is_whole => {
            let (mut schema, _) = schemas.field(source, field);
            if let Some(all) = schema.as_object_mut()
                && let Some(Value::String(description)) = all.remove("description")
            {
                words.push(description);
            }
            schema
        }
        _ => json!({ "type": "string" }),
    };
    if schema.get("type").is_some_and(|it| it == "string") && schema.get("minLength").is_none() {
        // A segment is never empty.
        set(&mut schema, "minLength", 1);
    }
    if !variable.is_whole
        && let Some(field) = &variable.field
    {
        words.push(format!(
            "A part of `{field}` in `{}`.",
            binding.info().template
        ));
    }
    if variable.is_rest {
        words.push("All of the rest of the path: a `/` in it is sent as it is.".to_owned());
    }
    let mut parameter = json!({
        "name": variable.name, "in": "path", "required": true, "schema": schema,
    });
    crate::schema::describe(&mut parameter, &words);
    parameter
}

fn leaf(input: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    let mut message = input.clone();
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        let field = message.get_field_by_name(name);
        let field = field.or_else(|| message.get_field_by_json_name(name))?;
        match field.kind() {
            _ if names.peek().is_none() => return Some(field),
            Kind::Message(inner) => message = inner,
            _ => return None,
        }
    }
    None
}

struct Query<'q, 's> {
    schemas: &'q mut Schemas,
    source: &'q Source<'s>,
    in_path: &'q [Variable],
    found: Vec<Value>,
    /// Messages that are being listed: one that contains itself is not listed again.
    open: Vec<MessageDescriptor>,
}

impl Query<'_, '_> {
    /// `before` is as it is written, `path` as proto files have it.
    fn add(&mut self, before: &str, path: &str, field: &FieldDescriptor) {
        let name = format!("{before}{}", self.source.name(field));
        let path = format!("{path}{}", field.name());
        let is_in_path = self
            .in_path
            .iter()
            .any(|it| it.field.as_deref() == Some(&*path));
        if is_in_path || field.is_map() || self.found.len() >= PARAMETERS_MAX {
            return;
        }
        if well_known::is_text(&field.kind()) {
            return self.leaf(name, field, before.is_empty());
        }
        let Kind::Message(message) = field.kind() else {
            return;
        };
        let is_open = self.open.contains(&message) || self.open.len() > DEPTH_MAX;
        let is_own = message.full_name().starts_with("google.protobuf.");
        if field.is_list() || is_open || is_own {
            return;
        }
        self.open.push(message.clone());
        for field in message.fields() {
            self.add(&format!("{name}."), &format!("{path}."), &field);
        }
        self.open.pop();
    }

    fn leaf(&mut self, name: String, field: &FieldDescriptor, is_top: bool) {
        let (mut schema, is_required) = self.schemas.field(self.source, field);
        let description = schema
            .as_object_mut()
            .and_then(|all| all.remove("description"));
        let mut parameter = json!({ "name": name, "in": "query", "schema": schema });
        if is_required && is_top {
            set(&mut parameter, "required", true);
        }
        if let Some(description) = description {
            set(&mut parameter, "description", description);
        }
        self.found.push(parameter);
    }
}
