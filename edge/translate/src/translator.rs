//! The immutable table of bindings, built once from a descriptor set.
//!
//! Invariant: building reports every error it finds, not just the first, and a translator with an
//! error in any rule does not exist: a rule that is silently missing would be a 404 in production.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::Method;
use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, MethodDescriptor};

use crate::Error;
use crate::options::Options;
use crate::rpc::Rpc;
use crate::rules::binding::{Binding, BindingInfo};
use crate::rules::index::Index;
use crate::rules::rule::HttpRule;
use crate::status::problem::Rejection;
use crate::validate::Rules;

/// Largest descriptor set. Googleapis in whole is about 10 MiB.
pub(crate) const DESCRIPTOR_SET_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most bindings of one translator; each costs memory for the life of a policy.
const BINDINGS_MAX: usize = 10_000;

/// Most RPCs of one translator.
const RPCS_MAX: usize = 10_000;

/// What [`Translator::find`] found.
#[derive(Debug)]
pub enum Find<'t> {
    Found(&'t Arc<Binding>),
    /// The path is bound, but not for this method. `allow` is sorted and never empty.
    MethodNotAllowed {
        allow: Vec<Method>,
    },
    NotFound,
}

/// Translates between what clients speak and gRPC, after a descriptor set and its `google.api.http`
/// rules. Immutable: built once at policy load, nothing is left to parse per request.
pub struct Translator {
    pool: DescriptorPool,
    /// By the path of the gRPC call.
    rpcs: HashMap<Box<str>, Arc<Rpc>, ahash::RandomState>,
    bindings: Vec<Arc<Binding>>,
    index: Index,
    /// Of requests, where they have any and are checked.
    rules: Option<Rules>,
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
        Self::from_pool(pool, options)
    }

    /// Like [`Self::from_descriptor_set`], of descriptors that are read already.
    ///
    /// # Errors
    /// As there.
    pub fn from_pool(pool: DescriptorPool, options: Options) -> Result<Self, Vec<Error>> {
        let mut translator = Self {
            pool: pool.clone(),
            rpcs: HashMap::default(),
            bindings: Vec::new(),
            index: Index::new(),
            rules: None,
            options,
        };
        let extension = pool.get_extension_by_name("google.api.http");
        let mut errors = Vec::new();
        for method in pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
        {
            if let Err(error) = translator.add(method, extension.as_ref(), &mut errors) {
                errors.push(error);
                break;
            }
        }
        if translator.rpcs.is_empty() && errors.is_empty() {
            errors.push(Error::NoRpcs);
        }
        if translator.options.validates {
            let rpcs = translator.rpcs.values().map(|rpc| &**rpc);
            match Rules::compile(&pool, rpcs, &translator.options) {
                Ok(rules) => translator.rules = rules,
                Err(unusable) => errors.extend(unusable),
            }
        }
        if errors.is_empty() {
            Ok(translator)
        } else {
            Err(errors)
        }
    }

    /// Adds an RPC and its rules; `Err` where nothing more can be added.
    fn add(
        &mut self,
        method: MethodDescriptor,
        extension: Option<&ExtensionDescriptor>,
        errors: &mut Vec<Error>,
    ) -> Result<(), Error> {
        let rule = extension
            .map(|extension| rule_of(&method, extension))
            .transpose();
        let name = method.full_name().to_owned();
        let rpc = match Rpc::new(method, &self.options) {
            Ok(rpc) => Arc::new(rpc),
            Err(error) => {
                let reason = error.to_string();
                errors.push(Error::Rule { rpc: name, reason });
                return Ok(());
            }
        };
        if self.rpcs.len() == RPCS_MAX {
            return Err(Error::TooManyRpcs { max: RPCS_MAX });
        }
        self.rpcs.insert(rpc.path.as_str().into(), rpc.clone());
        match rule {
            Ok(Some(Some(rule))) => self.bind(&rpc, &rule, errors),
            Ok(_) => Ok(()),
            Err(error) => {
                errors.push(error);
                Ok(())
            }
        }
    }

    fn bind(
        &mut self,
        rpc: &Arc<Rpc>,
        rule: &HttpRule,
        errors: &mut Vec<Error>,
    ) -> Result<(), Error> {
        for rule in std::iter::once(rule).chain(&rule.additional_bindings) {
            if self.bindings.len() == BINDINGS_MAX {
                return Err(Error::TooManyBindings { max: BINDINGS_MAX });
            }
            let added = rule.bind(rpc).and_then(|(binding, template)| {
                self.index
                    .insert(&template, &binding.method, self.bindings.len())
                    .map_err(|first| self.conflict(first, &binding))?;
                self.bindings.push(Arc::new(binding));
                Ok(())
            });
            if let Err(error) = added {
                errors.push(error);
            }
        }
        let nests = |inner: &HttpRule| !inner.additional_bindings.is_empty();
        if rule.additional_bindings.iter().any(nests) {
            errors.push(Error::NestedBindings {
                rpc: rpc.name().to_owned(),
            });
        }
        Ok(())
    }

    fn conflict(&self, first: usize, second: &Binding) -> Error {
        let first = self.bindings.get(first);
        let (rpc, template) = first
            .map(|first| (first.rpc.name().to_owned(), first.template.to_string()))
            .unwrap_or_default();
        Error::Conflict {
            method: second.method.as_str().to_owned(),
            first: rpc,
            first_template: template,
            second: second.rpc.name().to_owned(),
            template: second.template.to_string(),
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
        self.bindings.iter().map(|binding| binding.info())
    }

    /// Every binding itself, in that order.
    pub fn bound(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings.iter()
    }

    /// The RPC that a gRPC call with this `:path` is for.
    #[must_use]
    pub fn rpc(&self, path: &str) -> Option<&Arc<Rpc>> {
        self.rpcs.get(path)
    }

    /// Whether a request message keeps to the `buf.validate` rules of its descriptors.
    pub(crate) fn check(&self, rpc: &Rpc, message: &DynamicMessage) -> Result<(), Rejection> {
        match &self.rules {
            Some(rules) => rules.check(rpc, message),
            None => Ok(()),
        }
    }

    /// Whether there is anything to [`Self::check`].
    pub(crate) fn checks(&self, rpc: &Rpc) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.concern(rpc))
    }

    /// Like [`Self::check`], of a message that is passed on as it is and so need not be read for
    /// anything else. One that is not protobuf is refused only where it is read.
    pub(crate) fn check_encoded(&self, rpc: &Rpc, message: &[u8]) -> Result<(), Rejection> {
        let Some(rules) = self.rules.as_ref().filter(|rules| rules.concern(rpc)) else {
            return Ok(());
        };
        let message = DynamicMessage::decode(rpc.input.clone(), message).map_err(|error| {
            Rejection::bad_request("invalid_message", format!("the request message: {error}"))
        })?;
        rules.check(rpc, &message)
    }

    /// How many `buf.validate` rules of the descriptors are left to the service: those in CEL.
    #[must_use]
    pub fn rules_left_out(&self) -> usize {
        self.rules.as_ref().map_or(0, Rules::left_out)
    }

    /// What it was made of.
    #[must_use]
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// What it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }
}

/// Without its descriptors, which print all of themselves.
impl fmt::Debug for Translator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Translator")
            .field("bindings", &self.bindings)
            .field("options", &self.options)
            .finish_non_exhaustive()
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
