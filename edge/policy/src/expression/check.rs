//! What can be known of an expression before any request: names, types as far as they are
//! written, and how many steps it takes at most.

use std::ops::Range;

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr, LiteralValue, SourceInfo};
use regex::Regex;

use super::Problem;
use super::vocabulary::{CAPTURES, GROUPS, Type, VARIABLES, everything, members};
use crate::codes;
use crate::diagnostic::{shown, suggestion};

/// Nodes of the syntax tree, what loops are written out to included.
pub(super) const NODES_MAX: usize = 256;
/// Of those, within loops: with `ITEMS_MAX` it bounds a decision at some 16,000 steps.
const LOOP_NODES_MAX: usize = 64;
/// Of the tree: each level is a call on the stack of who judges a request.
const DEPTH_MAX: usize = 32;
/// The function that takes the place of `matches`, whose pattern was compiled here.
pub(super) const MATCH: &str = "@matches";
/// The function through which loops see what they go over.
pub(super) const BOUNDED: &str = "@bounded";

/// Check the tree, and put what was compiled or is bounded in place of what was written.
pub(super) fn check(
    root: &mut IdedExpr,
    source: &str,
    places: &SourceInfo,
) -> Result<Vec<Regex>, Vec<Problem>> {
    let mut checker = Checker {
        source,
        places,
        problems: Vec::new(),
        regexes: Vec::new(),
        nodes: 0,
        loop_nodes: 0,
        depth: 0,
        is_too_deep: false,
        locals: Vec::new(),
        loops: 0,
    };
    let result = checker.type_of(root);
    if checker.nodes > NODES_MAX {
        checker.problems.clear();
        let message = format!("the expression has more than {NODES_MAX} parts");
        checker.report_at(0..source.len(), codes::EXPRESSION_COST, message, None);
    } else if checker.loop_nodes > LOOP_NODES_MAX {
        let message = format!("the loops of the expression have more than {LOOP_NODES_MAX} parts");
        checker.report_at(0..source.len(), codes::EXPRESSION_COST, message, None);
    } else if !result.fits(Type::Bool) {
        let message = format!(
            "the expression is {}, and must be true or false",
            result.words()
        );
        checker.report(root.id, codes::EXPRESSION_TYPE, message, None);
    }
    if checker.problems.is_empty() {
        return Ok(checker.regexes);
    }
    Err(checker.problems)
}

pub(super) struct Checker<'s> {
    source: &'s str,
    places: &'s SourceInfo,
    pub(super) problems: Vec<Problem>,
    pub(super) regexes: Vec<Regex>,
    nodes: usize,
    loop_nodes: usize,
    depth: usize,
    is_too_deep: bool,
    /// Variables of loops, innermost last.
    pub(super) locals: Vec<String>,
    /// Loops around this place.
    pub(super) loops: usize,
}

impl Checker<'_> {
    pub(super) fn report(
        &mut self,
        id: u64,
        code: &'static str,
        message: String,
        hint: Option<String>,
    ) {
        let at = self.place(id);
        self.report_at(at, code, message, hint);
    }

    pub(super) fn report_at(
        &mut self,
        at: Range<usize>,
        code: &'static str,
        message: String,
        hint: Option<String>,
    ) {
        self.problems.push(Problem {
            code,
            at,
            message,
            hint,
        });
    }

    /// The parser counts characters, and tells the last one.
    fn place(&self, id: u64) -> Range<usize> {
        let Some((start, stop)) = self.places.offset_for(id) else {
            return 0..self.source.len();
        };
        let byte = |character: u32| {
            let mut indices = self.source.char_indices().map(|(at, _)| at);
            indices.nth(character as usize).unwrap_or(self.source.len())
        };
        let start_byte = byte(start);
        start_byte..byte(stop.saturating_add(1)).max(start_byte)
    }

    /// Of `a.b.c`, of which the parser only tells where the last dot is.
    fn place_of_name(&self, id: u64, segments: &[String]) -> Range<usize> {
        let place = self.place(id);
        let name = segments.join(".");
        let last = segments.last().map_or(0, String::len);
        let start = (place.end + last).saturating_sub(name.len());
        if segments.len() > 1
            && self
                .source
                .get(start..)
                .is_some_and(|rest| rest.starts_with(&name))
        {
            return start..start + name.len();
        }
        place
    }

    /// Of `f(`, of which the parser only tells where the bracket is.
    pub(super) fn place_of_function(&self, id: u64, name: &str) -> Range<usize> {
        let place = self.place(id);
        let before = self.source.get(..place.start).unwrap_or("").trim_end();
        match before.strip_suffix(name) {
            Some(rest) => rest.len()..before.len(),
            None => place,
        }
    }

    pub(super) fn type_of(&mut self, expr: &mut IdedExpr) -> Type {
        self.nodes += 1;
        // What is too large is said once, and not looked at further.
        self.loop_nodes += usize::from(self.loops > 0);
        if self.nodes > NODES_MAX {
            return Type::Any;
        }
        let id = expr.id;
        if self.depth >= DEPTH_MAX {
            if !self.is_too_deep {
                let message = format!("the expression is nested deeper than {DEPTH_MAX}");
                self.report(id, codes::EXPRESSION_COST, message, None);
            }
            self.is_too_deep = true;
            return Type::Any;
        }
        self.depth += 1;
        let found = self.type_at(id, expr);
        self.depth -= 1;
        found
    }

    fn type_at(&mut self, id: u64, expr: &mut IdedExpr) -> Type {
        if let Some(name) = self.qualified(expr) {
            return self.variable(id, &name, false);
        }
        match &mut expr.expr {
            Expr::Literal(literal) => literal_type(literal),
            Expr::Select(select) => {
                if select.test
                    && let Some(mut name) = self.qualified(&select.operand)
                {
                    name.push(select.field.clone());
                    self.variable(id, &name, true);
                    return Type::Bool;
                }
                let operand = self.type_of(&mut select.operand);
                self.expect(select.operand.id, operand, Type::Map);
                if select.test { Type::Bool } else { Type::Any }
            }
            Expr::List(list) => {
                for element in &mut list.elements {
                    self.type_of(element);
                }
                Type::List
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.type_of(&mut entry.key);
                        self.type_of(&mut entry.value);
                    }
                }
                Type::Map
            }
            Expr::Call(call) => {
                let result = self.call(id, call);
                self.constant(id, expr);
                result
            }
            Expr::Comprehension(comprehension) => self.comprehension(id, comprehension),
            // An identifier is a qualified name; the others are no values here.
            Expr::Ident(_) | Expr::Struct(_) | Expr::Unspecified => {
                let message = "this is not part of the expressions of access rules".to_owned();
                self.report(id, codes::EXPRESSION_NAME, message, None);
                Type::Any
            }
        }
    }

    /// `a.b.c` as its segments, unless it begins with the variable of a loop.
    pub(super) fn qualified(&self, expr: &IdedExpr) -> Option<Vec<String>> {
        let mut segments = Vec::new();
        let mut expr = &expr.expr;
        loop {
            match expr {
                Expr::Ident(name) => {
                    segments.push(name.clone());
                    segments.reverse();
                    let is_local = segments.len() > 1 && self.locals.contains(name);
                    return (!is_local).then_some(segments);
                }
                Expr::Select(select) if !select.test => {
                    segments.push(select.field.clone());
                    expr = &select.operand.expr;
                }
                _ => return None,
            }
        }
    }

    fn variable(&mut self, id: u64, segments: &[String], is_test: bool) -> Type {
        let Some(root) = segments.first().map(String::as_str) else {
            return Type::Any;
        };
        if self.locals.iter().any(|local| local == root) {
            return Type::Any;
        }
        let is_group = GROUPS.contains(&root);
        let length = if is_group { 2 } else { 1 };
        if is_group && segments.len() < length {
            let message = format!("{} has no value of its own", shown(root));
            self.report(id, codes::EXPRESSION_NAME, message, Some(members(root)));
            return Type::Any;
        }
        let name = segments
            .iter()
            .take(length)
            .cloned()
            .collect::<Vec<_>>()
            .join(".");
        let known = VARIABLES.iter().find(|(known, _)| *known == name);
        let own = match known {
            Some((_, own)) => *own,
            None if name == CAPTURES => Type::Map,
            None => {
                let names = VARIABLES.iter().map(|(known, _)| *known).chain([CAPTURES]);
                let near = suggestion(&name, names);
                let hint = near.unwrap_or_else(|| {
                    if is_group {
                        members(root)
                    } else {
                        everything()
                    }
                });
                let message = format!("nothing is called {}", shown(&name));
                let at = self.place_of_name(id, segments);
                self.report_at(at, codes::EXPRESSION_NAME, message, Some(hint));
                return Type::Any;
            }
        };
        let below = segments.len() - length;
        let holds_text = name != "claims" && own == Type::Map;
        let too_deep = if own == Type::Map {
            holds_text && below > 1
        } else {
            below > 0
        };
        if too_deep {
            let what = if holds_text { Type::Text } else { own };
            let message = format!(
                "{} has no members, it is {}",
                shown(
                    segments
                        .get(..segments.len() - 1)
                        .unwrap_or_default()
                        .join(".")
                        .as_str()
                ),
                what.words()
            );
            let at = self.place_of_name(id, segments);
            self.report_at(at, codes::EXPRESSION_TYPE, message, None);
            return Type::Any;
        }
        match (below, holds_text) {
            _ if is_test => Type::Bool,
            (0, _) => own,
            (_, true) => Type::Text,
            (_, false) => Type::Any,
        }
    }

    pub(super) fn expect(&mut self, id: u64, found: Type, wanted: Type) {
        if !found.fits(wanted) {
            let message = format!("this is {}, and must be {}", found.words(), wanted.words());
            self.report(id, codes::EXPRESSION_TYPE, message, None);
        }
    }
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::String(_) => Type::Text,
        LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => Type::Number,
        LiteralValue::Bytes(_) | LiteralValue::Null => Type::Any,
    }
}
