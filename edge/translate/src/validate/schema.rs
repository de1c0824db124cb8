//! Where rules stand in descriptors, and which of them the evaluator can take.

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_protovalidate::types::DESCRIPTOR_POOL;
use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, MessageDescriptor, ReflectMessage, Value,
};

use crate::Error;

const PACKAGE: &str = "buf.validate";

/// The options that hold rules, as a descriptor set has them.
pub(super) struct Extensions {
    message: Option<ExtensionDescriptor>,
    oneof: Option<ExtensionDescriptor>,
    field: Option<ExtensionDescriptor>,
}

impl Extensions {
    /// `None` where the set does not know `buf.validate`.
    pub(super) fn of(pool: &DescriptorPool) -> Option<Self> {
        let named = |name: &str| pool.get_extension_by_name(&format!("{PACKAGE}.{name}"));
        let found = Self {
            message: named("message"),
            oneof: named("oneof"),
            field: named("field"),
        };
        (found.message.is_some() || found.oneof.is_some() || found.field.is_some()).then_some(found)
    }

    /// Whether a message, or anything declared in it, has a rule.
    pub(super) fn are_on(&self, message: &MessageDescriptor) -> bool {
        let has = |options: DynamicMessage, extension: &Option<ExtensionDescriptor>| {
            extension
                .as_ref()
                .is_some_and(|extension| options.has_extension(extension))
        };
        has(message.options(), &self.message)
            || message
                .fields()
                .any(|field| has(field.options(), &self.field))
            || message
                .oneofs()
                .any(|oneof| has(oneof.options(), &self.oneof))
    }
}

/// The same descriptors without the rules that the evaluator does not take, and how many those are.
pub(super) fn without_unusable(pool: &DescriptorPool) -> Result<(DescriptorPool, usize), Error> {
    let unusable = |reason: String| Error::DescriptorSet(reason);
    let schema = DESCRIPTOR_POOL
        .get_message_by_name("google.protobuf.FileDescriptorProto")
        .ok_or_else(|| unusable("the evaluator has no schema".to_owned()))?;
    let mut set = Vec::new();
    let mut left_out = 0;
    for file in pool.files() {
        let mut bytes = file.encode_to_vec();
        // The rules' own file declares by the same options what we look for.
        if file.package_name() != PACKAGE && !file.name().starts_with("google/") {
            let mut file = DynamicMessage::decode(schema.clone(), bytes.as_slice())
                .map_err(|error| unusable(error.to_string()))?;
            let found = strip(&mut file);
            if found > 0 {
                left_out += found;
                bytes = file.encode_to_vec();
            }
        }
        // `file` of `google.protobuf.FileDescriptorSet`.
        encode_key(1, WireType::LengthDelimited, &mut set);
        encode_varint(bytes.len() as u64, &mut set);
        set.extend(bytes);
    }
    if left_out == 0 {
        return Ok((pool.clone(), 0));
    }
    let pool =
        DescriptorPool::decode(set.as_slice()).map_err(|error| unusable(error.to_string()))?;
    Ok((pool, left_out))
}

/// Takes CEL rules out, and those that the evaluator's schema does not have: predefined ones are
/// CEL by another name, and newer ones it cannot know.
fn strip(message: &mut DynamicMessage) -> usize {
    let descriptor = message.descriptor();
    let mut found = 0;
    if descriptor.package_name() == PACKAGE {
        found += message.take_unknown_fields().count();
        if ["FieldRules", "MessageRules"].contains(&descriptor.name()) {
            for name in ["cel", "cel_expression"] {
                if let Some(Value::List(rules)) = message.get_field_by_name(name).as_deref() {
                    found += rules.len();
                    message.clear_field_by_name(name);
                }
            }
        }
    }
    let fields = message.fields_mut().map(|(_, value)| value);
    found += fields.map(strip_value).sum::<usize>();
    let extensions = message.extensions_mut().map(|(_, value)| value);
    found + extensions.map(strip_value).sum::<usize>()
}

fn strip_value(value: &mut Value) -> usize {
    match value {
        Value::Message(message) => strip(message),
        Value::List(list) => list.iter_mut().map(strip_value).sum(),
        _ => 0,
    }
}
