//! Operators, functions and loops of an expression: what they take, what comes out, and what is
//! put in their place where they would be compiled, or go on, for each request anew.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, operators};
use cel::common::types::CelInt;
use cel::{Context, IdedExpr, Value};
use regex::RegexBuilder;

use super::ENV;
use super::check::{BOUNDED, Checker, MATCH};
use super::vocabulary::{FUNCTIONS, GLOBAL, MACROS, Type};
use crate::codes;
use crate::diagnostic::{shown, suggestion};

/// Bytes of one compiled regular expression; `\w{1000}` takes megabytes.
const REGEX_BYTES_MAX: usize = 256 * 1024;

impl Checker<'_> {
    pub(super) fn call(&mut self, id: u64, call: &mut CallExpr) -> Type {
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
    pub(super) fn constant(&mut self, id: u64, expr: &IdedExpr) {
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

    pub(super) fn comprehension(&mut self, id: u64, loops: &mut ComprehensionExpr) -> Type {
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
