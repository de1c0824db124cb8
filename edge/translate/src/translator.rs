//! The immutable table of bindings, built once from a descriptor set.
//!
//! Invariant: building reports every error it finds, not just the first, and a translator with an
//! error in any rule does not exist: a rule that is silently missing would be a 404 in production.

use http::Method;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, ExtensionDescriptor, MethodDescriptor, SerializeOptions,
};

use crate::Error;
use crate::binding::{Binding, BindingInfo};
use crate::index::Index;
use crate::rule::HttpRule;

/// Largest descriptor set. Googleapis in whole is about 10 MiB.
const DESCRIPTOR_SET_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most bindings of one translator; each costs memory for the life of a policy.
const BINDINGS_MAX: usize = 10_000;

/// How JSON is read and written, and how much of it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Longest JSON request body, in bytes. A parsed message can take some thirty times its JSON
    /// in memory (a list of empty objects), so this also bounds the memory of one request.
    pub json_body_bytes_max: usize,
    /// Longest gRPC response message, in bytes. Longer ones become 502.
    pub grpc_message_bytes_max: usize,
    /// Longest JSON response body, in bytes: JSON can be many times longer than its message.
    pub json_response_bytes_max: usize,
    /// Ignore unknown JSON members and query parameters. Off: they are refused with 400, so that
    /// a misspelt name is noticed. On: unknown enum names are ignored too (ProtoJSON).
    pub ignore_unknown_fields: bool,
    /// Write fields that have their default value. On, unlike ProtoJSON's and Envoy's default: a
    /// REST client expects `{"count":0}` to have a `count`. Unset messages and `optional` fields
    /// are left out either way.
    pub emit_default_values: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            json_body_bytes_max: 1024 * 1024,
            grpc_message_bytes_max: 4 * 1024 * 1024,
            json_response_bytes_max: 16 * 1024 * 1024,
            ignore_unknown_fields: false,
            emit_default_values: true,
        }
    }
}

impl Options {
    pub(crate) fn deserialize(&self) -> DeserializeOptions {
        DeserializeOptions::new().deny_unknown_fields(!self.ignore_unknown_fields)
    }

    pub(crate) fn serialize(&self) -> SerializeOptions {
        SerializeOptions::new().skip_default_fields(!self.emit_default_values)
    }
}

/// What [`Translator::find`] found.
#[derive(Debug)]
pub enum Find<'t> {
    Found(&'t Binding),
    /// The path is bound, but not for this method. `allow` is sorted and never empty.
    MethodNotAllowed {
        allow: Vec<Method>,
    },
    NotFound,
}

/// Translates between HTTP with JSON and gRPC, after the `google.api.http` rules of a descriptor
/// set. Immutable: built once at policy load, nothing is left to parse per request.
#[derive(Debug)]
pub struct Translator {
    bindings: Vec<Binding>,
    streaming: Vec<Box<str>>,
    index: Index,
    options: Options,
}

impl Translator {
    /// Reads an encoded `google.protobuf.FileDescriptorSet` that includes its imports.
    ///
    /// # Errors
    /// All that is wrong with it, in the order of the descriptors. Two rules with the same method
    /// and the same template (names of variables aside) are an error that names both RPCs.
    pub fn from_descriptor_set(bytes: &[u8], options: Options) -> Result<Self, Vec<Error>> {
        if bytes.len() > DESCRIPTOR_SET_BYTES_MAX {
            return Err(vec![Error::DescriptorSetTooLarge {
                bytes: bytes.len(),
                max: DESCRIPTOR_SET_BYTES_MAX,
            }]);
        }
        let pool = DescriptorPool::decode(bytes)
            .map_err(|error| vec![Error::DescriptorSet(error.to_string())])?;
        let extension = pool
            .get_extension_by_name("google.api.http")
            .ok_or_else(|| vec![Error::NoBindings])?;
        let mut translator = Self {
            bindings: Vec::new(),
            streaming: Vec::new(),
            index: Index::new(),
            options,
        };
        let mut errors = Vec::new();
        for service in pool.services() {
            for method in service.methods() {
                match rule_of(&method, &extension) {
                    Ok(Some(rule)) => translator.add(&method, &rule, &mut errors),
                    Ok(None) => {}
                    Err(error) => errors.push(error),
                }
            }
        }
        if translator.bindings.is_empty() && errors.is_empty() {
            errors.push(Error::NoBindings);
        }
        if errors.is_empty() {
            Ok(translator)
        } else {
            Err(errors)
        }
    }

    fn add(&mut self, method: &MethodDescriptor, rule: &HttpRule, errors: &mut Vec<Error>) {
        if method.is_client_streaming() || method.is_server_streaming() {
            self.streaming.push(method.full_name().into());
            return;
        }
        for rule in std::iter::once(rule).chain(&rule.additional_bindings) {
            let added = rule.bind(method).and_then(|(binding, template)| {
                if self.bindings.len() == BINDINGS_MAX {
                    return Err(Error::TooManyBindings { max: BINDINGS_MAX });
                }
                self.index
                    .insert(&template, &binding.method, self.bindings.len())
                    .map_err(|first| self.conflict(first, &binding))?;
                self.bindings.push(binding);
                Ok(())
            });
            if let Err(error) = added {
                let full = matches!(error, Error::TooManyBindings { .. });
                errors.push(error);
                if full {
                    return;
                }
            }
        }
        if rule
            .additional_bindings
            .iter()
            .any(|inner| !inner.additional_bindings.is_empty())
        {
            errors.push(Error::NestedBindings {
                rpc: method.full_name().to_owned(),
            });
        }
    }

    fn conflict(&self, first: usize, second: &Binding) -> Error {
        Error::Conflict {
            method: second.method.as_str().to_owned(),
            template: second.template.to_string(),
            first: self
                .bindings
                .get(first)
                .map(|binding| binding.rpc.to_string())
                .unwrap_or_default(),
            second: second.rpc.to_string(),
        }
    }

    /// The binding for `method` and `path`; `path` is percent-encoded and has no query.
    ///
    /// At each segment from the left a literal wins over `*`, and `*` over `**`; a template whose
    /// `:verb` the path ends with wins over one without. `HEAD` falls back to `GET` (RFC 9110
    /// section 9.3.2). Literals match byte for byte, so `/%61` is not `/a`: a path must not mean
    /// one thing to the edge's route and another one here.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Find<'_> {
        let mut allow = Vec::new();
        let mut found = self.index.find(method, path, &mut allow);
        if found.is_none() && *method == Method::HEAD {
            found = self.index.find(&Method::GET, path, &mut allow);
        }
        if let Some(binding) = found.and_then(|at| self.bindings.get(at)) {
            return Find::Found(binding);
        }
        if allow.is_empty() {
            return Find::NotFound;
        }
        if allow.contains(&Method::GET) && !allow.contains(&Method::HEAD) {
            allow.push(Method::HEAD);
        }
        allow.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Find::MethodNotAllowed { allow }
    }

    /// Every binding, in the order of the descriptors.
    pub fn bindings(&self) -> impl Iterator<Item = BindingInfo<'_>> {
        self.bindings.iter().map(Binding::info)
    }

    /// Full names of the RPCs that have an HTTP rule but stream, and hence are not bound.
    pub fn streaming_rpcs(&self) -> impl Iterator<Item = &str> {
        self.streaming.iter().map(|name| &**name)
    }

    /// What it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }
}

fn rule_of(
    method: &MethodDescriptor,
    extension: &ExtensionDescriptor,
) -> Result<Option<HttpRule>, Error> {
    let options = method.options();
    if !options.has_extension(extension) {
        return Ok(None);
    }
    let error = |reason: String| Error::Rule {
        rpc: method.full_name().to_owned(),
        reason,
    };
    options
        .get_extension(extension)
        .as_message()
        .ok_or_else(|| error("it is not a message".to_owned()))?
        .transcode_to()
        .map(Some)
        .map_err(|e| error(e.to_string()))
}
