//! Schemas of messages and enums: what ProtoJSON makes of them, by a translator's options.

use std::collections::BTreeMap;

use palisade_translate::{JsonOptions, Translator};
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::comments::Comments;
use crate::document::Version;
use crate::{rules, well_known};

/// The descriptors of one cluster, and how their JSON is written.
pub(crate) struct Source<'t> {
    /// Among the sources of the document.
    pub(crate) number: usize,
    pub(crate) json: &'t JsonOptions,
    pub(crate) comments: Comments,
}

impl<'t> Source<'t> {
    pub(crate) fn new(number: usize, translator: &'t Translator) -> Self {
        Self {
            number,
            json: &translator.options().json,
            comments: Comments::of(translator.pool()),
        }
    }

    /// Of a member of an object, as it is written.
    pub(crate) fn name<'f>(&self, field: &'f FieldDescriptor) -> &'f str {
        if self.json.proto_names {
            field.name()
        } else {
            field.json_name()
        }
    }

    pub(crate) fn comment(&self, field: &FieldDescriptor) -> &str {
        let file = field.parent_message().parent_file();
        self.comments.above(&file, field.path())
    }
}

/// `components.schemas`, filled as they are asked for.
pub(crate) struct Schemas {
    pub(crate) version: Version,
    components: BTreeMap<String, Value>,
    /// Number of the source and full name to the name among components: two clusters may have
    /// different things of one name.
    names: BTreeMap<(usize, String), String>,
}

impl Schemas {
    pub(crate) fn new(version: Version) -> Self {
        Self {
            version,
            components: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    pub(crate) fn into_components(self) -> Map<String, Value> {
        self.components.into_iter().collect()
    }

    pub(crate) fn message(&mut self, source: &Source<'_>, message: &MessageDescriptor) -> Value {
        if let Some(schema) = well_known::message(message, self.version) {
            return schema;
        }
        let build = |this: &mut Self| this.object(source, message);
        self.component(source, message.full_name(), build)
    }

    fn enumeration(&mut self, source: &Source<'_>, kind: &EnumDescriptor) -> Value {
        if let Some(schema) = well_known::null(kind, self.version) {
            return schema;
        }
        self.component(source, kind.full_name(), |_| enumeration(source, kind))
    }

    /// A reference, to what `build` makes where it is not there yet.
    fn component(
        &mut self,
        source: &Source<'_>,
        full_name: &str,
        build: impl FnOnce(&mut Self) -> Value,
    ) -> Value {
        let key = (source.number, full_name.to_owned());
        if let Some(name) = self.names.get(&key) {
            return reference(name);
        }
        let mut name = full_name.to_owned();
        let mut number = 1;
        while self.components.contains_key(&name) {
            number += 1;
            name = format!("{full_name}-{number}");
        }
        self.names.insert(key, name.clone());
        // Taken before it is built: a message may contain itself.
        self.components.insert(name.clone(), Value::Null);
        let schema = build(self);
        self.components.insert(name.clone(), schema);
        reference(&name)
    }

    fn object(&mut self, source: &Source<'_>, message: &MessageDescriptor) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message.fields() {
            let (schema, is_required) = self.field(source, &field);
            let name = source.name(&field).to_owned();
            if is_required {
                required.push(Value::from(name.clone()));
            }
            properties.insert(name, schema);
        }
        let mut schema = json!({ "type": "object", "properties": properties });
        if !required.is_empty() {
            set(&mut schema, "required", required);
        }
        let file = message.parent_file();
        let mut words = vec![source.comments.above(&file, message.path()).to_owned()];
        let choices = message.oneofs().filter(|oneof| !oneof.is_synthetic());
        words.extend(choices.map(|oneof| {
            let fields: Vec<_> = oneof.fields().collect();
            let names: Vec<_> = fields
                .iter()
                .map(|it| format!("`{}`", source.name(it)))
                .collect();
            format!("At most one of {}.", names.join(", "))
        }));
        words.extend(rules::of_message(message));
        describe(&mut schema, &words);
        schema
    }

    /// With its rules and its comment, and whether it must be there.
    pub(crate) fn field(&mut self, source: &Source<'_>, field: &FieldDescriptor) -> (Value, bool) {
        let ruled = rules::of_field(field, self.version);
        let kind = field.kind();
        let mut schema = match &kind {
            Kind::Message(entry) if field.is_map() => {
                let mut value = self.kind(source, &entry.map_entry_value_field().kind());
                self.refine(&mut value, ruled.inner);
                json!({ "type": "object", "additionalProperties": value })
            }
            _ if field.is_list() => {
                let mut item = self.kind(source, &kind);
                self.refine(&mut item, ruled.inner);
                json!({ "type": "array", "items": item })
            }
            _ => self.kind(source, &kind),
        };
        let mut keywords = ruled.keywords;
        let options = field.field_descriptor_proto().options.as_ref();
        if options.is_some_and(|options| options.deprecated()) {
            keywords.insert("deprecated".to_owned(), true.into());
        }
        let mut words = vec![source.comment(field).to_owned()];
        words.extend(ruled.words);
        if let Some(words) = in_one(&words) {
            let told = schema.get("description").and_then(Value::as_str);
            let words = told.map_or_else(|| words.clone(), |told| format!("{words}\n\n{told}"));
            keywords.insert("description".to_owned(), words.into());
        }
        self.refine(&mut schema, keywords);
        (schema, ruled.is_required)
    }

    pub(crate) fn kind(&mut self, source: &Source<'_>, kind: &Kind) -> Value {
        match kind {
            Kind::Message(message) => self.message(source, message),
            Kind::Enum(kind) => self.enumeration(source, kind),
            scalar => well_known::scalar(scalar, self.version).unwrap_or_default(),
        }
    }

    /// More keywords. In 3.0 nothing may stand beside a reference.
    fn refine(&self, schema: &mut Value, keywords: Map<String, Value>) {
        if keywords.is_empty() {
            return;
        }
        if self.version == Version::V3_0 && schema.get("$ref").is_some() {
            let whole = std::mem::take(schema);
            *schema = json!({ "allOf": [whole] });
        }
        if let Some(all) = schema.as_object_mut() {
            all.extend(keywords);
        }
    }
}

fn enumeration(source: &Source<'_>, kind: &EnumDescriptor) -> Value {
    let values = kind.values();
    let mut schema = if source.json.enum_numbers {
        let numbers: Vec<_> = values.map(|value| value.number()).collect();
        json!({ "type": "integer", "enum": numbers })
    } else {
        let names: Vec<_> = values.map(|value| value.name().to_owned()).collect();
        json!({ "type": "string", "enum": names })
    };
    let file = kind.parent_file();
    let lines = kind.values().filter_map(|value| {
        let comment = source.comments.above(&file, value.path());
        (!comment.is_empty()).then(|| format!("- `{}`: {comment}", value.name()))
    });
    let lines: Vec<_> = lines.collect();
    let words = [
        source.comments.above(&file, kind.path()).to_owned(),
        lines.join("\n"),
    ];
    describe(&mut schema, &words);
    schema
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

pub(crate) fn set(schema: &mut Value, keyword: &str, value: impl Into<Value>) {
    if let Some(all) = schema.as_object_mut() {
        all.insert(keyword.to_owned(), value.into());
    }
}

pub(crate) fn describe(schema: &mut Value, words: &[String]) {
    if let Some(words) = in_one(words) {
        set(schema, "description", words);
    }
}

/// A paragraph for each that says something.
pub(crate) fn in_one(words: &[String]) -> Option<String> {
    let words: Vec<_> = words
        .iter()
        .map(String::as_str)
        .filter(|it| !it.is_empty())
        .collect();
    (!words.is_empty()).then(|| words.join("\n\n"))
}
