//! Rules of a descriptor set to an evaluator: once, when a translator is built.

use std::collections::{HashMap, HashSet};
use std::thread;

use prost_protovalidate::{Error as RuleError, Filter, ValidationOption, Validator};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};

use super::{Rules, schema};
use crate::Error;
use crate::options::Options;
use crate::rpc::Rpc;

/// Most messages with rules: the evaluator copies its table for each one it adds.
const MESSAGES_MAX: usize = 4_000;

/// How deep messages may hold messages. The evaluator calls itself for each level.
const DEPTH_MAX: usize = 256;

/// Enough for that many levels without optimisation, in bytes; only what is used is ever backed.
const STACK_BYTES: usize = 64 * 1024 * 1024;

impl Rules {
    /// `None` where no request has a rule: then nothing is spent on any.
    ///
    /// # Errors
    /// Each message with a rule that cannot be: of another type, a pattern that is none.
    pub(crate) fn compile<'a>(
        pool: &DescriptorPool,
        rpcs: impl Iterator<Item = &'a Rpc>,
        options: &Options,
    ) -> Result<Option<Self>, Vec<Error>> {
        let Some(known) = schema::Extensions::of(pool) else {
            return Ok(None);
        };
        let mut graph = Graph::default();
        for rpc in rpcs {
            graph.add(&rpc.input, &known).map_err(|error| vec![error])?;
        }
        let ruled = graph.ruled();
        if ruled.is_empty() {
            return Ok(None);
        }
        if ruled.len() > MESSAGES_MAX {
            return Err(vec![Error::TooManyRules { max: MESSAGES_MAX }]);
        }
        let (pool, left_out) = schema::without_unusable(pool).map_err(|error| vec![error])?;
        let validator = on_large_stack(|| validator(&pool, &ruled))?;
        Ok(Some(Self {
            validator,
            ruled: ruled.into_iter().map(String::into_boxed_str).collect(),
            left_out,
            proto_names: options.json.proto_names,
        }))
    }
}

/// The compiler of rules recurses along the messages, which may come from another process.
fn on_large_stack<T: Send>(
    work: impl FnOnce() -> Result<T, Vec<Error>> + Send,
) -> Result<T, Vec<Error>> {
    let failed = |reason: &str| {
        vec![Error::Rules {
            message: String::new(),
            reason: reason.to_owned(),
        }]
    };
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(STACK_BYTES);
        match builder.spawn_scoped(scope, work) {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(failed("the evaluator failed"))),
            Err(error) => Err(failed(&error.to_string())),
        }
    })
}

/// An empty message meets every rule of its type, and so every one that does not compile.
fn validator(pool: &DescriptorPool, ruled: &[String]) -> Result<Validator, Vec<Error>> {
    let validator = Validator::new();
    let mut errors = Vec::new();
    for message in ruled
        .iter()
        .filter_map(|name| pool.get_message_by_name(name))
    {
        let empty = DynamicMessage::new(message.clone());
        if let Some(reason) = reason(validator.validate(&empty)) {
            let culprit = message.fields().find_map(|field| {
                let only = ValidationOption::Filter(std::sync::Arc::new(Only(field.clone())));
                let reason = reason_of(&validator, &empty, only)?;
                Some((field.full_name().to_owned(), reason))
            });
            let (message, reason) =
                culprit.unwrap_or_else(|| (message.full_name().to_owned(), reason));
            errors.push(Error::Rules { message, reason });
        }
    }
    if errors.is_empty() {
        Ok(validator)
    } else {
        Err(errors)
    }
}

fn reason_of(
    validator: &Validator,
    empty: &DynamicMessage,
    option: ValidationOption,
) -> Option<String> {
    reason(validator.validate_with(empty, &[option]))
}

fn reason(result: Result<(), RuleError>) -> Option<String> {
    match result {
        Ok(()) | Err(RuleError::Validation(_)) => None,
        Err(RuleError::Compilation(error)) => Some(error.cause),
        Err(error) => Some(error.to_string()),
    }
}

/// Looks at the rules of one field.
struct Only(FieldDescriptor);

impl Filter for Only {
    fn should_validate(&self, _: &DynamicMessage, _: &MessageDescriptor) -> bool {
        false
    }

    fn should_validate_field(&self, _: &DynamicMessage, field: &FieldDescriptor) -> bool {
        field.full_name() == self.0.full_name()
    }
}

/// Which messages hold which.
#[derive(Default)]
struct Graph {
    messages: Vec<Node>,
    by_name: HashMap<String, usize, ahash::RandomState>,
}

struct Node {
    name: String,
    has_rules: bool,
    holders: Vec<usize>,
}

impl Graph {
    /// Adds a message and all that it holds, depth first as the evaluator does.
    fn add(&mut self, root: &MessageDescriptor, known: &schema::Extensions) -> Result<(), Error> {
        let mut stack = Vec::new();
        self.enter(root, None, known, &mut stack);
        while let Some((at, held)) = stack.last_mut() {
            let at = *at;
            match held.next() {
                Some(message) => self.enter(&message, Some(at), known, &mut stack),
                None => drop(stack.pop()),
            }
            if stack.len() > DEPTH_MAX {
                return Err(Error::TooDeep {
                    message: root.full_name().to_owned(),
                    max: DEPTH_MAX,
                });
            }
        }
        Ok(())
    }

    fn enter(
        &mut self,
        message: &MessageDescriptor,
        holder: Option<usize>,
        known: &schema::Extensions,
        stack: &mut Vec<(usize, std::vec::IntoIter<MessageDescriptor>)>,
    ) {
        let at = match self.by_name.get(message.full_name()) {
            Some(at) => *at,
            None => {
                let at = self.messages.len();
                let name = message.full_name().to_owned();
                self.by_name.insert(name.clone(), at);
                self.messages.push(Node {
                    name,
                    has_rules: known.are_on(message),
                    holders: Vec::new(),
                });
                stack.push((at, held(message).into_iter()));
                at
            }
        };
        if let (Some(node), Some(holder)) = (self.messages.get_mut(at), holder) {
            node.holders.push(holder);
        }
    }

    /// Messages with rules, and all that hold them however deep.
    fn ruled(&self) -> Vec<String> {
        let mut seen: HashSet<usize> = HashSet::new();
        let rules = |(at, node): (usize, &Node)| node.has_rules.then_some(at);
        let mut left: Vec<usize> = self.messages.iter().enumerate().filter_map(rules).collect();
        while let Some(at) = left.pop() {
            if seen.insert(at)
                && let Some(node) = self.messages.get(at)
            {
                left.extend(&node.holders);
            }
        }
        let named = |at: usize| self.messages.get(at).map(|node| node.name.clone());
        let mut ruled: Vec<usize> = seen.into_iter().collect();
        ruled.sort_unstable();
        ruled.into_iter().filter_map(named).collect()
    }
}

/// Messages in the fields of a message.
fn held(message: &MessageDescriptor) -> Vec<MessageDescriptor> {
    let of = |field: FieldDescriptor| match field.kind() {
        Kind::Message(entry) if field.is_map() => match entry.map_entry_value_field().kind() {
            Kind::Message(value) => Some(value),
            _ => None,
        },
        Kind::Message(inner) => Some(inner),
        _ => None,
    };
    message.fields().filter_map(of).collect()
}
