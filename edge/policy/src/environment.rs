//! Variables of the environment: declared in the policies, put where `${NAME}` stands.
//!
//! Invariant: only what is declared is read, and what is put in stays text: it never becomes a key,
//! a list or nothing. The values are no secrets, yet errors show only what is written.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::codes;
use crate::decode;
use crate::diagnostic::{Fault, Mark, shown, suggestion};
use crate::document::EnvironmentDoc;
use crate::field::{At, List, items};
use crate::report::Report;
use crate::yaml::{Node, Value};

/// Of all files.
const DECLARATIONS_MAX: usize = 1_000;
/// Bytes of one value: as long as any text of the language.
const VALUE_BYTES_MAX: usize = 4_096;
/// Bytes put into all files together: a short name can stand for a long value many times.
const TOTAL_BYTES_MAX: usize = 16 << 20;
/// The top-level key of the declarations, in which nothing is put.
const KEY: &str = "environment";

/// What is declared, and what it stands for.
pub(crate) struct Environment {
    variables: BTreeMap<String, Variable>,
    bytes_left: usize,
}

struct Variable {
    mark: Mark,
    /// None where it is at fault or not set.
    value: Option<String>,
    is_used: bool,
}

impl Environment {
    /// The declarations of all files; `lookup` is asked for each once.
    pub(crate) fn declared<'n>(
        trees: impl Iterator<Item = &'n Rc<Node>>,
        lookup: &dyn Fn(&str) -> Option<String>,
        report: &mut Report,
    ) -> Self {
        let mut environment = Self {
            variables: BTreeMap::new(),
            bytes_left: TOTAL_BYTES_MAX,
        };
        for tree in trees {
            let Value::Map(entries) = &tree.value else {
                continue;
            };
            for (_, node) in entries.iter().filter(|(key, _)| key.text == KEY) {
                let list = decode::part::<List<EnvironmentDoc>>(node, report);
                for at in list.iter().flat_map(items) {
                    environment.declare(at, lookup, report);
                }
            }
        }
        environment
    }

    fn declare(
        &mut self,
        at: &At<EnvironmentDoc>,
        lookup: &dyn Fn(&str) -> Option<String>,
        report: &mut Report,
    ) {
        let doc = &at.value;
        if doc.name.is_absent() {
            let mark = Mark {
                length: 1,
                ..at.mark
            };
            report.push(
                mark,
                Fault::new(codes::MISSING, "the variable has no `name`"),
            );
        }
        let Some(name) = doc.name.given() else { return };
        if report
            .check(name.mark, variable_name(&name.value))
            .is_none()
        {
            return;
        }
        if self.variables.contains_key(&name.value) {
            let message = format!("variable {} is declared twice", shown(&name.value));
            return report.push(name.mark, Fault::new(codes::DEFINED_TWICE, message));
        }
        if self.variables.len() >= DECLARATIONS_MAX {
            let message = format!("more than {DECLARATIONS_MAX} variables");
            return report.push(name.mark, Fault::new(codes::TOO_MUCH, message));
        }
        let default = doc.default.given().map(|at| at.value.clone());
        let value = lookup(&name.value).or(default);
        if value.is_none() && doc.default.is_absent() {
            let message = format!(
                "variable {} is not set in the environment, and has no `default`",
                shown(&name.value)
            );
            let hint = "set it where the edge is started, or write a `default`";
            report.push(name.mark, Fault::new(codes::NOT_SET, message).hint(hint));
        }
        let is_long = value
            .as_ref()
            .is_some_and(|value| value.len() > VALUE_BYTES_MAX);
        if is_long {
            let message = format!(
                "variable {} holds more than {VALUE_BYTES_MAX} bytes",
                shown(&name.value)
            );
            report.push(name.mark, Fault::new(codes::TOO_MUCH, message));
        }
        let variable = Variable {
            mark: name.mark,
            value: value.filter(|_| !is_long),
            is_used: false,
        };
        self.variables.insert(name.value.clone(), variable);
    }

    /// The tree with all `${NAME}` replaced.
    pub(crate) fn put_into(&mut self, tree: Rc<Node>, report: &mut Report) -> Rc<Node> {
        let Value::Map(entries) = &tree.value else {
            return tree;
        };
        let mut seen = HashMap::new();
        let mut replaced = Vec::new();
        for (position, (key, node)) in entries.iter().enumerate() {
            if key.text != KEY
                && let Some(node) = self.replace(node, &mut seen, report)
            {
                replaced.push((position, node));
            }
        }
        if replaced.is_empty() {
            return tree;
        }
        let mut entries = entries.clone();
        for (position, node) in replaced {
            if let Some((_, place)) = entries.get_mut(position) {
                *place = node;
            }
        }
        Rc::new(tree.with(Value::Map(entries)))
    }

    /// None where nothing is to be replaced. `seen` keeps what aliases share shared.
    fn replace(
        &mut self,
        node: &Rc<Node>,
        seen: &mut HashMap<*const Node, Option<Rc<Node>>>,
        report: &mut Report,
    ) -> Option<Rc<Node>> {
        if let Some(known) = seen.get(&Rc::as_ptr(node)) {
            return known.clone();
        }
        let value = match &node.value {
            Value::Scalar { text, .. } => text.contains("${").then(|| {
                let filled = self.fill(text, node.mark, report);
                match &filled {
                    Some(filled) => report.conceal(node.mark, filled, text),
                    None => report.silence(node.mark),
                }
                let filled = filled.unwrap_or_default();
                // A number or `true` even in quotes, which braces need; but never nothing.
                let plain = !matches!(filled.as_str(), "" | "~" | "null");
                Value::Scalar {
                    text: filled,
                    plain,
                }
            }),
            Value::List(items) => self.replace_all(items, seen, report).map(Value::List),
            Value::Map(entries) => {
                let values: Vec<_> = entries.iter().map(|(_, node)| node.clone()).collect();
                let keys = entries.iter().map(|(key, _)| key.clone());
                self.replace_all(&values, seen, report)
                    .map(|values| Value::Map(keys.zip(values).collect()))
            }
        };
        let replaced = value.map(|value| Rc::new(node.with(value)));
        seen.insert(Rc::as_ptr(node), replaced.clone());
        replaced
    }

    fn replace_all(
        &mut self,
        nodes: &[Rc<Node>],
        seen: &mut HashMap<*const Node, Option<Rc<Node>>>,
        report: &mut Report,
    ) -> Option<Vec<Rc<Node>>> {
        let mut any = false;
        let mut all = Vec::with_capacity(nodes.len());
        for node in nodes {
            let replaced = self.replace(node, seen, report);
            any |= replaced.is_some();
            all.push(replaced.unwrap_or_else(|| node.clone()));
        }
        any.then_some(all)
    }

    /// None where something is at fault.
    fn fill(&mut self, text: &str, mark: Mark, report: &mut Report) -> Option<String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, here) = rest.split_at(at);
            filled.push_str(before);
            if let Some(after) = here.strip_prefix("$${") {
                filled.push_str("${");
                rest = after;
            } else if let Some(after) = here.strip_prefix("${") {
                let Some((name, after)) = after.split_once('}') else {
                    let message = "`${` without a closing brace";
                    report.push(mark, malformed(message.to_owned()));
                    return None;
                };
                filled.push_str(self.value(name, mark, report)?);
                rest = after;
            } else {
                filled.push('$');
                rest = here.get(1..).unwrap_or("");
            }
        }
        filled.push_str(rest);
        Some(filled)
    }

    fn value(&mut self, name: &str, mark: Mark, report: &mut Report) -> Option<&str> {
        if variable_name(name).is_err() {
            let message = format!("{} is not a name of the environment", shown(name));
            report.push(mark, malformed(message));
            return None;
        }
        if !self.variables.contains_key(name) {
            let message = format!("variable {} is not declared", shown(name));
            let names = self.variables.keys().map(String::as_str);
            let hint = suggestion(name, names).unwrap_or_else(|| {
                format!(
                    "declare it with `environment: [{{ name: {name} }}]` in any of the files, or write `$${{` for the characters themselves"
                )
            });
            report.push(mark, Fault::new(codes::NOT_DECLARED, message).hint(hint));
            return None;
        }
        let variable = self.variables.get_mut(name)?;
        variable.is_used = true;
        let value = variable.value.as_deref()?;
        let Some(left) = self.bytes_left.checked_sub(value.len()) else {
            let message =
                format!("more than {TOTAL_BYTES_MAX} bytes of the environment in all files");
            report.push(mark, Fault::new(codes::TOO_MUCH, message));
            return None;
        };
        self.bytes_left = left;
        Some(value)
    }

    /// A declaration without use is a slip on one of the two sides.
    pub(crate) fn report_unused(&self, report: &mut Report) {
        for (name, variable) in self.variables.iter().filter(|(_, v)| !v.is_used) {
            let message = format!("variable {} is declared and never used", shown(name));
            let hint = format!(
                "write {} where its value belongs, or remove it",
                shown(&format!("${{{name}}}"))
            );
            let fault = Fault::warning(codes::UNUSED_VARIABLE, message);
            report.push(variable.mark, fault.hint(hint));
        }
    }
}

fn malformed(message: String) -> Fault {
    Fault::new(codes::MALFORMED_VARIABLE, message)
        .hint("write `${NAME}`, or `$${` for the characters themselves")
}

/// As POSIX has them (Base Definitions, 8.1), in either case.
fn variable_name(text: &str) -> Result<(), Fault> {
    const NAME_BYTES_MAX: usize = 128;
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let later = |c: char| first(c) || c.is_ascii_digit();
    if text.len() <= NAME_BYTES_MAX && text.starts_with(first) && text.chars().all(later) {
        return Ok(());
    }
    let message = format!("{} is not a name of the environment", shown(text));
    let hint = format!("letters, digits and `_`, no digit first, at most {NAME_BYTES_MAX}");
    Err(Fault::new(codes::BAD_NAME, message).hint(hint))
}
