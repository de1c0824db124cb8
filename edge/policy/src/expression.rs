//! Expressions of access rules, in CEL (cel.dev): compiled at reload, judged for each request.
//!
//! Invariant: one that compiles names only what requests have, is true or false as far as types
//! tell, and takes a bounded number of steps: loops do not nest, and go over lists of the request.
//! An expression that cannot be decided (a claim that is not there) is an error, never true.

mod check;
mod facts;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use cel::common::types::{CelList, CelMap, DYN_TYPE};
use cel::common::value::CowVal;
use cel::{Context, Env, ExecutionError, IdedExpr, Value};
use regex::Regex;

use crate::codes;

pub use facts::Facts;

/// Bytes of source.
const SOURCE_BYTES_MAX: usize = 4 * 1024;
/// Brackets within brackets; the parser recurses, and takes some 200 KiB of stack for each without
/// optimisation.
const BRACKETS_MAX: u16 = 16;
const PARSER_STACK_BYTES: usize = 16 * 1024 * 1024;
/// Items of a list or map that a loop may go over; with `check::NODES_MAX` it bounds the steps of
/// one decision at 65,536 (measured: 20 ms at the very worst, 2 microseconds for a usual one).
const ITEMS_MAX: usize = 256;
/// Characters of the parser's own words that are shown.
const SYNTAX_CHARS_MAX: usize = 120;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_overload(check::BOUNDED, check::BOUNDED, vec![DYN_TYPE], bounded)
        .expect("the standard library has no function of this name");
    Arc::new(env)
});

/// What a loop goes over, unless it has too many items.
fn bounded<'b, 'v>(range: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let range = range.into_iter().next();
    let range = range.ok_or_else(ExecutionError::missing_argument_or_target)?;
    let items = match (
        range.downcast_ref::<CelList>(),
        range.downcast_ref::<CelMap>(),
    ) {
        (Some(list), _) => list.inner().len(),
        (None, Some(map)) => map.inner().len(),
        (None, None) => 0,
    };
    if items > ITEMS_MAX {
        return Err(ExecutionError::function_error(check::BOUNDED, ITEMS_MAX));
    }
    Ok(range)
}

/// A compiled expression.
pub struct Expression {
    source: Arc<str>,
    root: IdedExpr,
    /// Of `matches`, by the number that took the place of the pattern.
    regexes: Arc<[Regex]>,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable id.
    pub code: &'static str,
    /// Bytes of the source that it is about.
    pub at: Range<usize>,
    pub message: String,
    pub hint: Option<String>,
}

impl Problem {
    fn of_all(source: &str, code: &'static str, message: String) -> Self {
        Self {
            code,
            at: 0..source.len(),
            message,
            hint: None,
        }
    }
}

/// Why an expression is neither true nor false for a request; for the log, without values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Undecided(String);

impl Expression {
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(source: &str) -> Result<Self, Vec<Problem>> {
        // The parser is not ours: what it stumbles over is an error like others.
        let aside = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES);
            let thread = thread
                .spawn_scoped(scope, || Self::compile_here(source))
                .ok()?;
            thread.join().ok()
        });
        aside.unwrap_or_else(|| {
            let message = "the expression cannot be read".to_owned();
            Err(vec![Problem::of_all(source, codes::EXPRESSION, message)])
        })
    }

    fn compile_here(source: &str) -> Result<Self, Vec<Problem>> {
        let whole = |code, message: String| vec![Problem::of_all(source, code, message)];
        if source.trim().is_empty() {
            return Err(whole(
                codes::EXPRESSION,
                "the expression is empty".to_owned(),
            ));
        }
        if source.len() > SOURCE_BYTES_MAX {
            let message = format!("the expression is longer than {SOURCE_BYTES_MAX} bytes");
            return Err(whole(codes::EXPRESSION_COST, message));
        }
        let parser = ENV.parser().enable_optional_syntax(false);
        let parsed = parser
            .max_recursion_depth(BRACKETS_MAX)
            .error_recovery_limit(1)
            .parse_with_source_info(source);
        let (mut root, places) = match parsed {
            Ok(parsed) => parsed,
            Err(errors) => return Err(vec![syntax(source, &errors)]),
        };
        let regexes = check::check(&mut root, source, &places)?;
        Ok(Self {
            source: source.into(),
            root,
            regexes: regexes.into(),
        })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it is true for the request.
    ///
    /// # Errors
    /// Where it cannot be decided, which is not to be taken for true.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, Undecided> {
        let lazy = facts::Lazy::new(facts);
        let mut context = Context::with_env(ENV.clone());
        context.set_variable_resolver(&lazy);
        if !self.regexes.is_empty() {
            let regexes = self.regexes.clone();
            let is_match = move |text: Arc<String>, number: i64| {
                let regex = usize::try_from(number).ok().and_then(|at| regexes.get(at));
                regex.is_some_and(|regex| regex.is_match(&text))
            };
            context
                .add_function(check::MATCH, is_match)
                .map_err(|_| Undecided("`matches` cannot be called".to_owned()))?;
        }
        let value = Value::resolve(&self.root, &context);
        if let Some(name) = lazy.ambiguous() {
            return Err(Undecided(name));
        }
        match value {
            Ok(Value::Bool(truth)) => Ok(truth),
            Ok(_) => Err(Undecided("the result is not true or false".to_owned())),
            Err(error) => Err(self.undecided(&error)),
        }
    }

    /// Values of the request may be credentials: only words of the expression itself are repeated.
    fn undecided(&self, error: &ExecutionError) -> Undecided {
        let written = |name: &str| self.source.contains(name);
        Undecided(match error {
            ExecutionError::NoSuchKey(key) if written(key) => {
                format!("there is no `{key}`")
            }
            ExecutionError::NoSuchKey(_) => "there is no such key".to_owned(),
            ExecutionError::NoSuchOverload(call) => {
                let types = call.argument_types().join(", ");
                format!("`{}` does not take ({types})", call.function())
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                "a division by zero".to_owned()
            }
            ExecutionError::Overflow(..) => "a number is too large".to_owned(),
            ExecutionError::IndexOutOfBounds(_) => "a list has fewer items".to_owned(),
            ExecutionError::FunctionError { function, .. } if function == check::BOUNDED => {
                format!("a loop would go over more than {ITEMS_MAX} items")
            }
            ExecutionError::FunctionError { function, .. } => {
                format!("`{function}` cannot read its argument")
            }
            _ => "the types do not fit together".to_owned(),
        })
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.source)
    }
}

/// The first of the parser's complaints; later ones are mostly its consequences.
fn syntax(source: &str, errors: &cel::ParseErrors) -> Problem {
    let first = errors.errors.first();
    let (line, column) = first.map_or((1, 0), |error| error.pos);
    let number = |n: isize| usize::try_from(n).unwrap_or(0);
    let before: usize = source
        .split_inclusive('\n')
        .take(number(line).saturating_sub(1))
        .map(str::len)
        .sum();
    let rest = source.get(before..).unwrap_or("");
    let inside = rest
        .char_indices()
        .nth(number(column))
        .map_or(rest.len(), |(at, _)| at);
    let at = (before + inside).min(source.len());
    let said = first.map_or("", |error| error.msg.as_str());
    if said.contains("Recursion limit") {
        let message = format!("more than {BRACKETS_MAX} brackets within each other");
        return Problem::of_all(source, codes::EXPRESSION_COST, message);
    }
    let said = said.strip_prefix("Syntax error: ").unwrap_or(said);
    // What could have stood there is a list of all there is.
    let said = said.split(" expecting {").next().unwrap_or(said);
    let said = if said.contains("'<EOF>'") {
        "it ends too soon"
    } else {
        said
    };
    let said: String = said
        .chars()
        .filter(|c| !c.is_control())
        .take(SYNTAX_CHARS_MAX)
        .collect();
    Problem {
        code: codes::EXPRESSION,
        at: at..(at + 1).min(source.len()).max(at),
        message: format!("not an expression: {said}"),
        hint: said
            .contains("error at: '= ")
            .then(|| "two values are compared by `==`".to_owned()),
    }
}

#[cfg(test)]
mod tests;
