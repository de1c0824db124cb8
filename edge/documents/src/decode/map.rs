//! Maps and their keys for the decoder: unknown keys are reported, and the rest decoded on.

use std::cell::RefCell;
use std::rc::Rc;

use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Decoder, Error};
use crate::codes;
use crate::diagnostic::{Fault, Mark, shown, suggestion};
use crate::hints;
use crate::report::Report;
use crate::yaml::{Key, Node};

/// Under these somebody may have written a credential.
const SECRETS: [&str; 4] = ["key", "password", "secret", "token"];

/// The entries of a map, or of a struct with known keys.
pub(super) struct Pairs<'n, 'r> {
    pub(super) entries: std::slice::Iter<'n, (Key, Rc<Node>)>,
    pub(super) value: Option<&'n Node>,
    /// The keys of a struct; a map takes any.
    pub(super) known: Option<&'static [&'static str]>,
    pub(super) report: &'r RefCell<&'r mut Report>,
}

impl<'de> MapAccess<'de> for Pairs<'_, '_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        for (key, node) in self.entries.by_ref() {
            let unknown = self
                .known
                .filter(|known| !known.contains(&key.text.as_str()));
            if let Some(known) = unknown {
                let fault = Fault::new(
                    codes::UNKNOWN_KEY,
                    format!("unknown key {}", shown(&key.text)),
                );
                let fault = if SECRETS.contains(&key.text.as_str()) {
                    fault.conceal()
                } else {
                    fault
                };
                let hint = hints::synonym(&key.text, known)
                    .or_else(|| suggestion(&key.text, known.iter().copied()))
                    .or_else(|| Some(format!("known keys: {}", known.join(", "))));
                self.report
                    .borrow_mut()
                    .push(key.mark, fault.maybe_hint(hint));
                continue;
            }
            self.value = Some(node);
            return seed.deserialize(KeyDecoder { key }).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.value.take() {
            Some(node) => seed.deserialize(Decoder {
                node,
                report: self.report,
            }),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

/// A key as an identifier, or as text with its place.
struct KeyDecoder<'n> {
    key: &'n Key,
}

impl<'de> Deserializer<'de> for KeyDecoder<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(&self.key.text)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(KeyParts {
            key: self.key,
            given: 0,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct KeyParts<'n> {
    key: &'n Key,
    given: usize,
}

impl<'de> SeqAccess<'de> for KeyParts<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Mark {
            file,
            line,
            column,
            length,
        } = self.key.mark;
        let part = [file, line, column, length].get(self.given).copied();
        self.given += 1;
        match part {
            Some(number) => seed.deserialize(number.into_deserializer()).map(Some),
            None => seed.deserialize(KeyDecoder { key: self.key }).map(Some),
        }
    }
}
