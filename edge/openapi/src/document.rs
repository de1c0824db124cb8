//! The document: operations by path, and what they refer to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use palisade_translate::{Binding, Translator};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::operation::operation;
use crate::paths::{self, Mount, Template};
use crate::schema::{Schemas, Source, set};
use crate::terms::Terms;
use crate::{examples, responses};

/// Methods that OpenAPI 3.0 and 3.1 have words for.
const METHODS: [&str; 8] = [
    "GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE",
];
/// Hexadecimal digits of an entity tag.
const TAG_DIGITS: usize = 32;

/// Of the OpenAPI Specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Version {
    V3_0,
    #[default]
    V3_1,
}

impl Version {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V3_0 => "3.0",
            Self::V3_1 => "3.1",
        }
    }

    fn whole(self) -> &'static str {
        match self {
            Self::V3_0 => "3.0.3",
            Self::V3_1 => "3.1.1",
        }
    }
}

/// What a document says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    pub version: Version,
    pub title: String,
    pub description: Option<String>,
    pub api_version: String,
    pub contact: Contact,
}

/// Who answers questions about the API.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contact {
    pub name: Option<String>,
    pub url: Option<String>,
    pub email: Option<String>,
}

/// What clients can do: a binding, as they find it.
#[derive(Debug)]
pub struct Operation {
    pub translator: Arc<Translator>,
    pub binding: Arc<Binding>,
    /// One that the binding takes.
    pub method: String,
    pub mount: Mount,
    pub terms: Terms,
}

/// A document as it is served.
#[derive(Debug)]
pub struct Document {
    pub json: Bytes,
    /// A strong entity tag, with its quotes.
    pub etag: String,
    pub operations: usize,
}

/// Writes the document of `operations`, in whatever order they are.
#[must_use]
pub fn document(info: &Info, operations: &[Operation]) -> Document {
    let value = assembled(info, operations);
    let mut text = serde_json::to_vec_pretty(&sorted(value)).unwrap_or_default();
    text.push(b'\n');
    let digest = Sha256::digest(&text);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Document {
        json: Bytes::from(text),
        etag: format!("\"{}\"", digits.get(..TAG_DIGITS).unwrap_or(&digits)),
        operations: operations.len(),
    }
}

/// Members by name: whether `serde_json` keeps their order is not this crate's to say.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(all) => {
            let all: BTreeMap<_, _> = all.into_iter().collect();
            let all = all.into_iter().map(|(name, value)| (name, sorted(value)));
            Value::Object(all.collect())
        }
        Value::Array(all) => all.into_iter().map(sorted).collect(),
        other => other,
    }
}

fn assembled(info: &Info, operations: &[Operation]) -> Value {
    let mut schemas = Schemas::new(info.version);
    let sources = sources(operations);
    let mut paths = Paths::default();
    let mut tags = BTreeMap::new();
    let mut schemes = Map::new();
    let mut ids = HashSet::new();
    for it in operations {
        let Some(source) = sources.get(&Arc::as_ptr(&it.translator)) else {
            continue;
        };
        let key = it.method.to_ascii_lowercase();
        let template = paths.template(it);
        let is_known = METHODS.contains(&it.method.as_str());
        let Some(template) = template.filter(|_| is_known) else {
            continue;
        };
        let item = paths.items.entry(template.text.clone()).or_default();
        if item.contains_key(&key) {
            continue;
        }
        let service = it.binding.rpc().descriptor().parent_service();
        let comment = source
            .comments
            .above(&service.parent_file(), service.path());
        tags.entry(service.full_name().to_owned())
            .or_insert_with(|| comment.to_owned());
        let id = unique(
            &mut ids,
            service.name(),
            it.binding.rpc().descriptor().name(),
        );
        let written = operation(&mut schemas, source, it, (&id, &template), &mut schemes);
        item.insert(key, written);
    }
    let mut components = schemas.into_components();
    components.insert("Problem".to_owned(), responses::problem(info.version));
    let mut paths: Map<String, Value> = paths
        .items
        .into_iter()
        .map(|(path, item)| (path, Value::Object(item)))
        .collect();
    examples::put(&mut paths, &components);
    let mut whole = json!({
        "openapi": info.version.whole(),
        "info": about(info),
        "servers": [{ "url": "/" }],
        "tags": tags.into_iter().map(tag).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": responses::components(),
        },
    });
    if !schemes.is_empty() {
        set(&mut whole["components"], "securitySchemes", schemes);
    }
    whole
}

fn sources(operations: &[Operation]) -> HashMap<*const Translator, Source<'_>> {
    let mut sources = HashMap::new();
    for it in operations {
        let number = sources.len();
        sources
            .entry(Arc::as_ptr(&it.translator))
            .or_insert_with(|| Source::new(number, &it.translator));
    }
    sources
}

fn tag((name, comment): (String, String)) -> Value {
    let mut tag = json!({ "name": name });
    if !comment.is_empty() {
        set(&mut tag, "description", comment);
    }
    tag
}

fn about(info: &Info) -> Value {
    let mut about = json!({ "title": info.title, "version": info.api_version });
    if let Some(description) = &info.description {
        set(&mut about, "description", description.clone());
    }
    let Contact { name, url, email } = &info.contact;
    let mut contact = Map::new();
    for (key, value) in [("name", name), ("url", url), ("email", email)] {
        if let Some(value) = value {
            contact.insert(key.to_owned(), value.clone().into());
        }
    }
    if !contact.is_empty() {
        set(&mut about, "contact", contact);
    }
    about
}

/// `UserService_GetProfile`, with a number behind it where there are several.
fn unique(ids: &mut HashSet<String>, service: &str, method: &str) -> String {
    let stem = format!("{service}_{method}");
    let mut id = stem.clone();
    let mut number = 1;
    while !ids.insert(id.clone()) {
        number += 1;
        id = format!("{stem}_{number}");
    }
    id
}

#[derive(Default)]
struct Paths {
    items: BTreeMap<String, Map<String, Value>>,
    /// Without the names of variables, and as it is written.
    written: HashMap<String, Template>,
}

impl Paths {
    /// Two templates that differ in names alone are one path to OpenAPI: the first names hold.
    fn template(&mut self, it: &Operation) -> Option<Template> {
        let mut template = paths::template(&it.binding);
        template.text = it.mount.outside(&template.text)?;
        let normal = paths::normal(&template.text);
        let Some(first) = self.written.get(&normal) else {
            self.written.insert(normal, template.clone());
            return Some(template);
        };
        for (variable, named) in template.variables.iter_mut().zip(&first.variables) {
            variable.name.clone_from(&named.name);
        }
        template.text.clone_from(&first.text);
        Some(template)
    }
}
