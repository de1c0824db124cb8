//! A YAML tree to types, by serde; a fault in one field hides no other.
//!
//! Each `Field` catches what is wrong with its value, reports it at its place, and the rest is
//! decoded on. Unknown keys are reported here, with the nearest known one. Refuses null, and
//! YAML 1.1's `yes`, `on` and octal numbers.

mod map;

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use crate::codes;
use crate::diagnostic::{Fault, Mark, shown, suggestion};
use crate::field::{EITHER, ENTRIES, FIELD, Field, JSON};
use crate::hints;
use crate::report::Report;
use crate::yaml::{self, Key, Node, Value};

use map::Pairs;

/// Values of all files together with all aliases written out: 64 MiB of policies hold fewer.
const NODES_TOTAL_MAX: usize = 8_000_000;

/// Of the language.
const VERSION: u64 = 1;
const VERSION_HINT: &str = "every file begins with `version: 1`";

/// How many more values may be decoded.
pub struct NodeBudget(usize);

impl Default for NodeBudget {
    fn default() -> Self {
        Self(NODES_TOTAL_MAX)
    }
}

/// The tree of one file; faults go to `report`.
pub fn tree(
    file: u32,
    text: &str,
    budget: &mut NodeBudget,
    report: &mut Report,
) -> Option<Rc<Node>> {
    let faults_before = report.count();
    let Some(root) = yaml::parse(file, text, report) else {
        // Nothing, or comments only.
        if report.count() == faults_before {
            let fault = Fault::new(codes::MISSING, "the file is empty").hint(VERSION_HINT);
            report.push(Mark::of_file(file), fault);
        }
        return None;
    };
    let Some(left) = budget.0.checked_sub(root.weight) else {
        let message = format!("more than {NODES_TOTAL_MAX} values in all files together");
        report.push(Mark::of_file(file), Fault::new(codes::TOO_MUCH, message));
        return None;
    };
    budget.0 = left;
    Some(root)
}

/// What begins with `version: 1`.
pub trait Versioned: for<'de> Deserialize<'de> {
    fn version(&self) -> &Field<u64>;
}

/// The document of a tree; faults go to `report`.
pub fn document<D: Versioned>(root: &Node, report: &mut Report) -> Option<D> {
    let document: D = match decoded(root, report) {
        Ok(document) => document,
        Err(error) => {
            let mut fault = error.fault;
            fault.hint.get_or_insert_with(|| VERSION_HINT.to_owned());
            report.push(error.mark.unwrap_or(root.mark), fault);
            return None;
        }
    };
    check_version(document.version(), root.mark, report);
    Some(document)
}

/// A part of the language; what is at fault as a whole is none, and is reported with its document.
pub fn part<T: for<'de> Deserialize<'de>>(node: &Node, report: &mut Report) -> Option<T> {
    decoded(node, report).ok()
}

fn decoded<T: for<'de> Deserialize<'de>>(node: &Node, report: &mut Report) -> Result<T, Error> {
    let report = RefCell::new(report);
    T::deserialize(Decoder {
        node,
        report: &report,
    })
}

fn check_version(version: &Field<u64>, root: Mark, report: &mut Report) {
    match version.given() {
        Some(written) if written.value == VERSION => {}
        Some(written) => {
            let message = format!("version {} of the language is not known", written.value);
            report.push(
                written.mark,
                Fault::new(codes::VERSION, message).hint(VERSION_HINT),
            );
        }
        None if version.is_absent() => {
            let fault = Fault::new(codes::MISSING, "the file has no `version`").hint(VERSION_HINT);
            report.push(Mark { length: 1, ..root }, fault);
        }
        None => {}
    }
}

/// A fault on its way to the field that catches it.
#[derive(Debug)]
struct Error {
    /// Set where the fault is first seen; the innermost node is the most exact place.
    mark: Option<Mark>,
    fault: Fault,
}

impl Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.fault.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<M: Display>(message: M) -> Self {
        Self {
            mark: None,
            fault: Fault::new(codes::WRONG_TYPE, message.to_string()),
        }
    }
}

/// One node, to be decoded.
#[derive(Clone, Copy)]
struct Decoder<'n, 'r> {
    node: &'n Node,
    report: &'r RefCell<&'r mut Report>,
}

impl<'n> Decoder<'n, '_> {
    fn wrong(&self, expected: &str) -> Error {
        let fault = if self.node.is_null() {
            Fault::new(
                codes::WRONG_TYPE,
                format!("expected {expected}, found nothing"),
            )
            .hint("leave the key out to have the default")
        } else {
            Fault::new(
                codes::WRONG_TYPE,
                format!("expected {expected}, found {}", self.node.kind()),
            )
            .maybe_hint(hints::value(expected, self.node))
        };
        Error {
            mark: Some(self.node.mark),
            fault,
        }
    }

    fn text(&self, expected: &str) -> Result<&'n str, Error> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => Ok(text),
            _ => Err(self.wrong(expected)),
        }
    }

    /// A word without quotes.
    fn word(&self, expected: &str) -> Result<&'n str, Error> {
        match &self.node.value {
            Value::Scalar { text, plain: true } if !self.node.is_null() => Ok(text),
            _ => Err(self.wrong(expected)),
        }
    }

    fn json(&self) -> Result<serde_json::Value, Error> {
        let below = |node| {
            let report = self.report;
            Decoder { node, report }.json()
        };
        match &self.node.value {
            _ if self.node.is_null() => Err(self.wrong("a value")),
            Value::Scalar { text, plain } => {
                // JSON's own numbers and booleans; all else is text.
                let typed = plain.then(|| serde_json::from_str(text).ok()).flatten();
                Ok(typed.unwrap_or_else(|| text.as_str().into()))
            }
            Value::List(items) => items.iter().map(|item| below(item)).collect(),
            Value::Map(entries) => {
                let entries = entries.iter();
                let pair = |(key, node): &'n (Key, Rc<Node>)| Ok((key.text.clone(), below(node)?));
                entries
                    .map(pair)
                    .collect::<Result<_, _>>()
                    .map(serde_json::Value::Object)
            }
        }
    }

    fn map(&self) -> Result<&'n [(Key, Rc<Node>)], Error> {
        match &self.node.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.wrong("a map")),
        }
    }
}

impl<'de> Deserializer<'de> for Decoder<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar { .. } => self.deserialize_str(visitor),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.word("`true` or `false`")? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(self.wrong("`true` or `false`")),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        const EXPECTED: &str = "a whole number";
        let word = self.word(EXPECTED)?;
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit())
            && (word == "0" || !word.starts_with('0'));
        match word.parse() {
            Ok(number) if is_number => visitor.visit_u64(number),
            _ => Err(self.wrong(EXPECTED)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text("text")?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::List(items) => visitor.visit_seq(Items {
                items: items.iter(),
                report: self.report,
            }),
            _ => Err(self.wrong("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = Pairs {
            entries: self.map()?.iter(),
            value: None,
            known: None,
            report: self.report,
        };
        visitor.visit_map(entries)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let entries = Pairs {
            entries: self.map()?.iter(),
            value: None,
            known: Some(fields),
            report: self.report,
        };
        visitor.visit_map(entries)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let expected = format!(
            "one of {}",
            variants
                .iter()
                .map(|name| shown(name))
                .collect::<Vec<_>>()
                .join(", ")
        );
        let written = self.text(&expected)?;
        if variants.contains(&written) {
            let variant: StrDeserializer<'_, Error> = written.into_deserializer();
            return visitor.visit_enum(variant);
        }
        let fault = Fault::new(
            codes::CHOICE,
            format!("expected {expected}, found {}", self.node.kind()),
        );
        let hint = suggestion(written, variants.iter().copied());
        Err(Error {
            mark: Some(self.node.mark),
            fault: fault.maybe_hint(hint),
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            FIELD => visitor.visit_seq(Caught {
                decoder: self,
                given: 0,
            }),
            ENTRIES => self.deserialize_map(visitor),
            JSON => visitor
                .visit_newtype_struct(self.json()?)
                .map_err(de::Error::custom),
            EITHER if matches!(self.node.value, Value::Scalar { .. }) => {
                self.deserialize_str(visitor)
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf option unit unit_struct
        tuple tuple_struct identifier ignored_any
    }
}

/// Gives a `Field` its place, then its value; without a value when the value is at fault.
struct Caught<'n, 'r> {
    decoder: Decoder<'n, 'r>,
    given: usize,
}

impl<'de> SeqAccess<'de> for Caught<'_, '_> {
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
        } = self.decoder.node.mark;
        let part = [file, line, column, length].get(self.given).copied();
        self.given += 1;
        match part {
            Some(number) => seed.deserialize(number.into_deserializer()).map(Some),
            None => match seed.deserialize(self.decoder) {
                Ok(value) => Ok(Some(value)),
                Err(error) => {
                    let mark = error.mark.unwrap_or(self.decoder.node.mark);
                    self.decoder.report.borrow_mut().push(mark, error.fault);
                    Ok(None)
                }
            },
        }
    }
}

struct Items<'n, 'r> {
    items: std::slice::Iter<'n, Rc<Node>>,
    report: &'r RefCell<&'r mut Report>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some(node) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(Decoder {
            node,
            report: self.report,
        })
        .map(Some)
    }
}
