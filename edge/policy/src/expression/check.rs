//! What can be known of an expression before any request: names, types as far as they are
//! written, and how many steps it takes at most.

use std::ops::Range;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators,
};
use cel::common::types::CelInt;
use cel::{Context, IdedExpr, Value};
use regex::{Regex, RegexBuilder};

use super::{ENV, Problem};
use crate::codes;
use crate::diagnostic::{shown, suggestion};

/// Nodes of the syntax tree, what loops are written out to included.
pub(super) const NODES_MAX: usize = 256;
/// Of the tree: each level is a call on the stack of who judges a request.
const DEPTH_MAX: usize = 32;
/// Bytes of one compiled regular expression; `\w{1000}` takes megabytes.
const REGEX_BYTES_MAX: usize = 256 * 1024;
/// The function that takes the place of `matches`, whose pattern was compiled here.
pub(super) const MATCH: &str = "@matches";
/// The function through which loops see what they go over.
pub(super) const BOUNDED: &str = "@bounded";

/// What is known of a value. `Any` fits everything: claims have the types that issuers give them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Any,
    Bool,
    Number,
    Text,
    Time,
    Duration,
    List,
    Map,
}

impl Type {
    fn words(self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::Time => "a time",
            Self::Duration => "a duration",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }

    fn fits(self, other: Self) -> bool {
        self == other || self == Self::Any || other == Self::Any
    }
}

/// Names that are values, and members of the groups among them.
const VARIABLES: [(&str, Type); 12] = [
    ("request.method", Type::Text),
    ("request.path", Type::Text),
    ("request.host", Type::Text),
    ("request.scheme", Type::Text),
    ("request.query", Type::Map),
    ("request.headers", Type::Map),
    ("client.address", Type::Text),
    ("caller.subject", Type::Text),
    ("caller.scopes", Type::List),
    ("caller.roles", Type::List),
    ("claims", Type::Map),
    ("now", Type::Time),
];
/// Variables of the path's template; separate, as its members are the route's business.
const CAPTURES: &str = "path";
const GROUPS: [&str; 3] = ["request", "client", "caller"];

/// Name, types of the receiver and of the arguments, type of the result.
const FUNCTIONS: [(&str, &[Type], Type); 19] = [
    ("size", &[Type::Any], Type::Number),
    ("startsWith", &[Type::Text, Type::Text], Type::Bool),
    ("endsWith", &[Type::Text, Type::Text], Type::Bool),
    ("contains", &[Type::Text, Type::Text], Type::Bool),
    ("matches", &[Type::Text, Type::Text], Type::Bool),
    ("int", &[Type::Any], Type::Number),
    ("double", &[Type::Any], Type::Number),
    ("string", &[Type::Any], Type::Text),
    ("timestamp", &[Type::Text], Type::Time),
    ("duration", &[Type::Text], Type::Duration),
    ("getFullYear", &[Type::Time], Type::Number),
    ("getMonth", &[Type::Time], Type::Number),
    ("getDate", &[Type::Time], Type::Number),
    ("getDayOfMonth", &[Type::Time], Type::Number),
    ("getDayOfWeek", &[Type::Time], Type::Number),
    ("getDayOfYear", &[Type::Time], Type::Number),
    ("getHours", &[Type::Time], Type::Number),
    ("getMinutes", &[Type::Time], Type::Number),
    ("getSeconds", &[Type::Time], Type::Number),
];
/// Called without a receiver: `int(x)`.
const GLOBAL: [&str; 6] = ["size", "int", "double", "string", "timestamp", "duration"];
const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];

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

struct Checker<'s> {
    source: &'s str,
    places: &'s SourceInfo,
    problems: Vec<Problem>,
    regexes: Vec<Regex>,
    nodes: usize,
    depth: usize,
    is_too_deep: bool,
    /// Variables of loops, innermost last.
    locals: Vec<String>,
    /// Loops around this place.
    loops: usize,
}

impl Checker<'_> {
    fn report(&mut self, id: u64, code: &'static str, message: String, hint: Option<String>) {
        let at = self.place(id);
        self.report_at(at, code, message, hint);
    }

    fn report_at(
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
    fn place_of_function(&self, id: u64, name: &str) -> Range<usize> {
        let place = self.place(id);
        let before = self.source.get(..place.start).unwrap_or("").trim_end();
        match before.strip_suffix(name) {
            Some(rest) => rest.len()..before.len(),
            None => place,
        }
    }

    fn type_of(&mut self, expr: &mut IdedExpr) -> Type {
        self.nodes += 1;
        // What is too large is said once, and not looked at further.
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
    fn qualified(&self, expr: &IdedExpr) -> Option<Vec<String>> {
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

    fn expect(&mut self, id: u64, found: Type, wanted: Type) {
        if !found.fits(wanted) {
            let message = format!("this is {}, and must be {}", found.words(), wanted.words());
            self.report(id, codes::EXPRESSION_TYPE, message, None);
        }
    }

    fn call(&mut self, id: u64, call: &mut CallExpr) -> Type {
        let mut arguments: Vec<(u64, Type)> = Vec::with_capacity(call.args.len() + 1);
        for expr in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
            arguments.push((expr.id, self.type_of(expr)));
        }
        if call.target.is_none()
            && let Some(result) = self.operator(&call.func_name, &arguments)
        {
            return result;
        }
        self.function(id, call, &arguments)
    }

    /// None where the name is not an operator's.
    fn operator(&mut self, name: &str, arguments: &[(u64, Type)]) -> Option<Type> {
        match (name, arguments) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, _) | (operators::LOGICAL_NOT, [_]) => {
                for (id, found) in arguments {
                    self.expect(*id, *found, Type::Bool);
                }
                Some(Type::Bool)
            }
            (
                operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS,
                [(_, left), (id, right)],
            ) => {
                self.expect(*id, *right, *left);
                Some(Type::Bool)
            }
            (operators::IN, [_, (id, right)]) => {
                if !(right.fits(Type::List) || right.fits(Type::Map)) {
                    self.expect(*id, *right, Type::List);
                }
                Some(Type::Bool)
            }
            (operators::INDEX, [(id, left), _]) => {
                if !(left.fits(Type::List) || left.fits(Type::Map)) {
                    self.expect(*id, *left, Type::Map);
                }
                Some(Type::Any)
            }
            (operators::CONDITIONAL, [(id, condition), (_, yes), (_, no)]) => {
                self.expect(*id, *condition, Type::Bool);
                Some(if yes == no { *yes } else { Type::Any })
            }
            (operators::ADD | operators::SUBSTRACT, [(_, left), (id, right)]) => {
                let times = [Type::Time, Type::Duration, Type::Any];
                if times.contains(left) && times.contains(right) {
                    return Some(Type::Any);
                }
                self.expect(*id, *right, *left);
                Some(*left)
            }
            (operators::MULTIPLY | operators::DIVIDE | operators::MODULO, _)
            | (operators::NEGATE, [_]) => {
                for (id, found) in arguments {
                    self.expect(*id, *found, Type::Number);
                }
                Some(Type::Number)
            }
            (operators::NOT_STRICTLY_FALSE, _) => Some(Type::Bool),
            _ => None,
        }
    }

    fn function(&mut self, id: u64, call: &mut CallExpr, arguments: &[(u64, Type)]) -> Type {
        let name = call.func_name.as_str();
        let Some((name, wanted, result)) = FUNCTIONS.iter().find(|(known, ..)| *known == name)
        else {
            let names = FUNCTIONS.iter().map(|(name, ..)| *name).chain(MACROS);
            let hint = suggestion(name, names.clone())
                .unwrap_or_else(|| format!("functions: {}", names.collect::<Vec<_>>().join(", ")));
            let message = format!("no function is called {}", shown(name));
            let at = self.place_of_function(id, name);
            self.report_at(at, codes::EXPRESSION_NAME, message, Some(hint));
            return Type::Any;
        };
        let is_method = call.target.is_some();
        // A name in front of the dot is a receiver; a zone may follow for parts of times.
        let counts = [
            wanted.len(),
            wanted.len() + usize::from(name.starts_with("get")),
        ];
        if is_method == GLOBAL.contains(name) && *name != "size"
            || !counts.contains(&arguments.len())
        {
            let message = format!("{} is not called like this", shown(name));
            let hint = match (GLOBAL.contains(name), wanted.len()) {
                (true, _) => format!("write `{name}(x)`"),
                (false, 1) => format!("write `x.{name}()`"),
                (false, _) => format!("write `x.{name}(\"text\")`"),
            };
            let at = self.place_of_function(id, name);
            self.report_at(at, codes::EXPRESSION_TYPE, message, Some(hint));
            return *result;
        }
        for ((id, found), wanted) in arguments.iter().zip(*wanted) {
            self.expect(*id, *found, *wanted);
        }
        if *name == "matches" {
            self.pattern(call);
        }
        *result
    }

    /// `x.matches("…")`: the pattern is compiled now, and becomes its number.
    fn pattern(&mut self, call: &mut CallExpr) {
        let Some(written) = call.args.first_mut() else {
            return;
        };
        let Expr::Literal(LiteralValue::String(pattern)) = &written.expr else {
            let message = "the pattern of `matches` must be written out".to_owned();
            self.report(written.id, codes::EXPRESSION_COST, message, None);
            return;
        };
        let compiled = RegexBuilder::new(pattern.inner())
            .size_limit(REGEX_BYTES_MAX)
            .build();
        match compiled {
            Ok(regex) => {
                let number = i64::try_from(self.regexes.len()).unwrap_or(i64::MAX);
                self.regexes.push(regex);
                written.expr = Expr::Literal(LiteralValue::Int(CelInt::from(number)));
                call.func_name = MATCH.to_owned();
                if let Some(target) = call.target.take() {
                    call.args.insert(0, *target);
                }
            }
            Err(error) => {
                let message = match error {
                    regex::Error::CompiledTooBig(_) => {
                        "the regular expression takes too much memory".to_owned()
                    }
                    error => {
                        let text = error.to_string();
                        let last = text.lines().last().unwrap_or_default();
                        format!(
                            "not a regular expression: {}",
                            last.trim_start_matches("error: ")
                        )
                    }
                };
                self.report(written.id, codes::EXPRESSION, message, None);
            }
        }
    }

    /// What has no variable in it fails now or never: `timestamp("soon")`, `1 / 0`.
    fn constant(&mut self, id: u64, expr: &IdedExpr) {
        let Expr::Call(call) = &expr.expr else {
            return;
        };
        let is_literal = |expr: &IdedExpr| matches!(expr.expr, Expr::Literal(_));
        let mut parts = call.target.as_deref().into_iter().chain(&call.args);
        if call.func_name == MATCH || !self.problems.is_empty() || !parts.all(is_literal) {
            return;
        }
        if Value::resolve(expr, &Context::with_env(ENV.clone())).is_err() {
            let message = "this has no value, whatever the request is".to_owned();
            self.report(id, codes::EXPRESSION_TYPE, message, None);
        }
    }

    fn comprehension(&mut self, id: u64, loops: &mut ComprehensionExpr) -> Type {
        let range_id = loops.iter_range.id;
        let is_path = self.qualified(&loops.iter_range).is_some()
            || matches!(&loops.iter_range.expr, Expr::List(_) | Expr::Select(_))
            || matches!(&loops.iter_range.expr, Expr::Call(call) if call.func_name == operators::INDEX);
        let range = self.type_of(&mut loops.iter_range);
        if self.loops > 0 {
            let message = "a loop within a loop takes too many steps".to_owned();
            let hint = "for two lists, write `xs.exists(x, x in ys)`".to_owned();
            self.report(id, codes::EXPRESSION_COST, message, Some(hint));
            return Type::Any;
        }
        if !is_path {
            let message = "a loop goes over a list of the request, not over a computed one";
            self.report(range_id, codes::EXPRESSION_COST, message.to_owned(), None);
        } else if !(range.fits(Type::List) || range.fits(Type::Map)) {
            self.expect(range_id, range, Type::List);
        }
        let written = std::mem::take(&mut loops.iter_range);
        loops.iter_range = IdedExpr {
            id: range_id,
            expr: Expr::Call(CallExpr {
                func_name: BOUNDED.to_owned(),
                target: None,
                args: vec![written],
            }),
        };
        self.loops += 1;
        let before = self.locals.len();
        let accumulated = self.type_of(&mut loops.accu_init);
        self.locals.push(loops.iter_var.clone());
        self.locals.extend(loops.iter_var2.clone());
        self.locals.push(loops.accu_var.clone());
        self.type_of(&mut loops.loop_cond);
        self.type_of(&mut loops.loop_step);
        let result = self.type_of(&mut loops.result);
        self.locals.truncate(before);
        self.loops -= 1;
        // The result is the accumulator, or something computed from it.
        if result == Type::Any {
            accumulated
        } else {
            result
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

fn members(group: &str) -> String {
    let names = VARIABLES.iter().map(|(name, _)| *name);
    let members = names.filter(|name| {
        name.strip_prefix(group)
            .is_some_and(|rest| rest.starts_with('.'))
    });
    format!("write {}", members.collect::<Vec<_>>().join(", "))
}

fn everything() -> String {
    let names = VARIABLES.iter().map(|(name, _)| *name).chain([CAPTURES]);
    format!("known: {}", names.collect::<Vec<_>>().join(", "))
}
