//! One operation: what is sent, what comes back, and on which terms.

use palisade_translate::{Binding, BodyPart};
use prost_reflect::{FieldDescriptor, Kind};
use serde_json::{Map, Value, json};

use crate::comments::summary;
use crate::document::{Operation, Version};
use crate::paths::Template;
use crate::schema::{Schemas, Source, describe, in_one, set};
use crate::{parameters, responses, well_known};

const EMPTY: &str = "google.protobuf.Empty";
const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";
const ANY: &str = "*/*";
const FORM: &str = "multipart/form-data";

/// The operation, of which `id` is unique; declares schemas and ways to sign in.
pub(crate) fn operation(
    schemas: &mut Schemas,
    source: &Source<'_>,
    it: &Operation,
    (id, template): (&str, &Template),
    schemes: &mut Map<String, Value>,
) -> Value {
    let version = schemas.version;
    let rpc = it.binding.rpc();
    let method = rpc.descriptor();
    let comment = source
        .comments
        .above(&method.parent_service().parent_file(), method.path());
    let (summary, whole) = summary(comment);
    let mut operation = json!({
        "operationId": id,
        "tags": [method.parent_service().full_name()],
        "responses": responses::of(
            answers(schemas, source, &it.binding),
            &it.terms,
            (
                it.translator.options().honours_http_metadata,
                rpc.descriptor().output().full_name() == EMPTY,
            ),
        ),
    });
    if !summary.is_empty() {
        set(&mut operation, "summary", summary);
    }
    let words = [whole.unwrap_or_default().to_owned(), it.terms.in_words()];
    describe(&mut operation, &words);
    let options = method.method_descriptor_proto().options.as_ref();
    if options.is_some_and(|options| options.deprecated()) {
        set(&mut operation, "deprecated", true);
    }
    let parameters = parameters::parameters(schemas, source, &it.binding, template);
    if !parameters.is_empty() {
        set(&mut operation, "parameters", parameters);
    }
    if let Some(body) = request_body(schemas, source, &it.binding, template) {
        set(&mut operation, "requestBody", body);
    }
    set(
        &mut operation,
        "security",
        it.terms.security(version, schemes),
    );
    if let Some(quotas) = it.terms.quotas() {
        set(&mut operation, "x-ratelimit", quotas);
    }
    if it.terms.request_body_max > 0 && operation.get("requestBody").is_some() {
        set(
            &mut operation,
            "x-request-body-bytes-max",
            it.terms.request_body_max,
        );
    }
    if let Some(timeout) = it.terms.request_timeout {
        set(&mut operation, "x-timeout-seconds", timeout.as_secs_f64());
    }
    operation
}

/// Whether the edge lets a body through at all.
fn request_body(
    schemas: &mut Schemas,
    source: &Source<'_>,
    binding: &Binding,
    template: &Template,
) -> Option<Value> {
    let (client_streams, _) = binding.rpc().streams();
    let input = binding.rpc().descriptor().input();
    let (kind, schema) = match binding.request_part() {
        BodyPart::None => return None,
        BodyPart::Whole => {
            let kind = Kind::Message(input.clone());
            (kind.clone(), schemas.kind(source, &kind))
        }
        BodyPart::Field(field) => (field.kind(), schemas.field(source, field).0),
    };
    let mut body = if well_known::is_http_body(&kind) {
        let mut content = json!({ ANY: { "schema": binary(schemas.version) } });
        if let (true, BodyPart::Field(field)) = (client_streams, binding.request_part()) {
            let form = form(schemas, source, field, template);
            set(&mut content, FORM, json!({ "schema": form }));
        }
        json!({ "content": content })
    } else if client_streams {
        json!({
            "description": "A document on each line, or one array of them.",
            "content": {
                LINES: { "schema": schema },
                JSON: { "schema": { "type": "array", "items": schema } },
            },
        })
    } else {
        json!({ "content": { JSON: { "schema": schema } } })
    };
    let is_required = match &kind {
        Kind::Message(message) => message
            .fields()
            .any(|field| schemas.field(source, &field).1),
        _ => true,
    };
    if is_required {
        set(&mut body, "required", true);
    }
    Some(body)
}

/// Bytes of any type.
fn binary(version: Version) -> Value {
    match version {
        Version::V3_1 => json!({}),
        Version::V3_0 => json!({ "type": "string", "format": "binary" }),
    }
}

/// The file in a part of its own, and the message's other fields.
fn form(
    schemas: &mut Schemas,
    source: &Source<'_>,
    file: &FieldDescriptor,
    template: &Template,
) -> Value {
    let mut properties = Map::new();
    let content = match schemas.version {
        Version::V3_1 => json!({ "contentMediaType": "application/octet-stream" }),
        Version::V3_0 => binary(Version::V3_0),
    };
    properties.insert(source.name(file).to_owned(), content);
    for field in file.parent_message().fields() {
        let variables = template.variables.iter();
        let mut in_path = variables.filter_map(|variable| variable.field.as_deref());
        let is_taken = field == *file || in_path.any(|path| path == field.name());
        let is_plain = !field.is_list() && !field.is_map();
        if !is_taken && is_plain && well_known::is_text(&field.kind()) {
            let (schema, _) = schemas.field(source, &field);
            properties.insert(source.name(&field).to_owned(), schema);
        }
    }
    json!({ "type": "object", "properties": properties })
}

/// `content` of a success.
fn answers(schemas: &mut Schemas, source: &Source<'_>, binding: &Binding) -> (String, Value) {
    let (_, server_streams) = binding.rpc().streams();
    let output = binding.rpc().descriptor().output();
    let file = output.parent_file();
    let said = source.comments.above(&file, output.path());
    let (kind, schema) = match binding.response_part() {
        BodyPart::Whole | BodyPart::None => {
            let kind = Kind::Message(output.clone());
            (kind.clone(), schemas.kind(source, &kind))
        }
        BodyPart::Field(field) => (field.kind(), schemas.field(source, field).0),
    };
    if well_known::is_http_body(&kind) {
        let content = json!({ ANY: { "schema": binary(schemas.version) } });
        return (
            "A body of the type that the service says.".to_owned(),
            content,
        );
    }
    if server_streams {
        let content = json!({
            LINES: { "schema": schema },
            EVENTS: { "schema": { "type": "string" } },
            JSON: { "schema": { "type": "array", "items": schema } },
        });
        let words = "A stream: a document on each line, events with a document each, or one array.";
        return (words.to_owned(), content);
    }
    let said = if output.full_name() == EMPTY {
        ""
    } else {
        said
    };
    let words = in_one(&[said.to_owned()]).unwrap_or_else(|| "Success.".to_owned());
    (words, json!({ JSON: { "schema": schema } }))
}
