//! Where definitions begin in the text of a file, so that a fault is the fault of one of them.
//!
//! A place belongs to the last definition, and the last key of it, that begins before it. Refuses
//! files with aliases: there one text is part of several definitions.

use std::collections::HashMap;
use std::rc::Rc;

use crate::codes;
use crate::diagnostic::{Fault, Mark};
use crate::document::Document;
use crate::report::Report;
use crate::yaml::{self, Key, Node, Value};

/// What says which requests are a route's own.
const IDENTITY: [&str; 3] = ["name", "hosts", "matches"];
/// These hide what was meant.
const UNEXCUSABLE: [&str; 3] = [codes::SYNTAX, codes::DUPLICATE_KEY, codes::REFUSED_YAML];

/// By file.
#[derive(Default)]
pub(super) struct Places(HashMap<u32, Vec<Start>>);

/// Something begins here.
struct Start {
    line: u32,
    column: u32,
    /// None before the first one of a section, and where it cannot be left out.
    definition: Option<Definition>,
    key: Option<String>,
}

#[derive(Clone, Copy)]
struct Definition {
    mark: Mark,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Route {
        /// Without them a misspelt key could have been `hosts`.
        has_hosts: bool,
    },
    Other,
}

impl Places {
    pub(super) fn add(&mut self, file: u32, text: &str) {
        self.0.entry(file).or_insert_with(|| starts(file, text));
    }

    /// What can be buried so that a fault at this place has no effect.
    pub(super) fn definition(&self, place: Mark) -> Option<Mark> {
        Some(self.start(place)?.definition?.mark)
    }

    /// The definition that a fault of decoding is in, where it leaves no doubt about the requests
    /// that the definition is about.
    pub(super) fn excusable(&self, place: Mark, fault: &Fault) -> Option<Mark> {
        let start = self.start(place)?;
        let definition = start.definition?;
        if UNEXCUSABLE.contains(&fault.code) {
            return None;
        }
        let key = start.key.as_deref()?;
        if let Kind::Route { has_hosts } = definition.kind {
            let is_the_key = (start.line, start.column) == (place.line, place.column);
            let is_misspelt = fault.code == codes::UNKNOWN_KEY && is_the_key;
            if IDENTITY.contains(&key) || is_misspelt && !has_hosts {
                return None;
            }
        }
        Some(definition.mark)
    }

    fn start(&self, place: Mark) -> Option<&Start> {
        let starts = self.0.get(&place.file)?;
        let after = starts
            .partition_point(|start| (start.line, start.column) <= (place.line, place.column));
        starts.get(after.checked_sub(1)?)
    }
}

fn starts(file: u32, text: &str) -> Vec<Start> {
    let mut starts = Vec::new();
    let root = yaml::parse(file, text, &mut Report::default());
    let Some(root) = root.filter(|root| !has_aliases(root)) else {
        return starts;
    };
    let Value::Map(sections) = &root.value else {
        return starts;
    };
    for (section, node) in sections {
        starts.push(start(section.mark, None, None));
        let Value::List(items) = &node.value else {
            continue;
        };
        for item in items {
            let definition = definition(&section.text, item);
            starts.push(start(item.mark, definition, None));
            for (key, _) in entries(item) {
                starts.push(start(key.mark, definition, Some(key.text.clone())));
            }
        }
    }
    // Stable: of those at one place the innermost stays last.
    starts.sort_by_key(|start| (start.line, start.column));
    starts
}

fn start(mark: Mark, definition: Option<Definition>, key: Option<String>) -> Start {
    Start {
        line: mark.line,
        column: mark.column,
        definition,
        key,
    }
}

fn entries(node: &Node) -> &[(Key, Rc<Node>)] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}

fn definition(section: &str, item: &Node) -> Option<Definition> {
    let kind = if section == "routes" {
        let mut own = entries(item).iter();
        let matches = own.find(|(key, _)| key.text == "matches");
        // A tombstone knows no caller: the match would hold for nobody.
        if matches.is_some_and(|(_, matches)| asks_for_claims(matches)) {
            return None;
        }
        let has_hosts = entries(item).iter().any(|(key, _)| key.text == "hosts");
        Kind::Route { has_hosts }
    } else if Document::BURIABLE.contains(&section) {
        Kind::Other
    } else {
        return None;
    };
    Some(Definition {
        mark: item.mark,
        kind,
    })
}

fn asks_for_claims(node: &Node) -> bool {
    match &node.value {
        Value::Scalar { .. } => false,
        Value::List(items) => items.iter().any(|item| asks_for_claims(item)),
        Value::Map(entries) => entries
            .iter()
            .any(|(key, value)| key.text == "claims" || asks_for_claims(value)),
    }
}

fn has_aliases(node: &Rc<Node>) -> bool {
    let below = |node: &Rc<Node>| Rc::strong_count(node) > 1 || has_aliases(node);
    match &node.value {
        Value::Scalar { .. } => false,
        Value::List(items) => items.iter().any(below),
        Value::Map(entries) => entries.iter().any(|(_, node)| below(node)),
    }
}
