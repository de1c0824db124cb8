//! Path templates as OpenAPI writes them.
//!
//! A variable of OpenAPI is one segment, so each `*` becomes one: `{name=shelves/*/books/*}` is
//! `/shelves/{name_1}/books/{name_2}`. `**` becomes one, too, and its description says that more
//! segments may follow: OpenAPI has no word for it.

use palisade_translate::{Binding, Piece, Segment};

/// Where clients find what is bound to a path: under a prefix of its own (`to`) instead of `from`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Mount {
    /// Of the bound paths; without a slash at its end.
    pub from: String,
    /// Of the clients' paths; without a slash at its end.
    pub to: String,
}

impl Mount {
    /// The client's path; none where the bound path is not below `from`.
    #[must_use]
    pub fn outside(&self, bound: &str) -> Option<String> {
        let rest = bound.strip_prefix(&self.from)?;
        let is_whole = rest.is_empty() || rest.starts_with('/');
        is_whole.then(|| format!("{}{rest}", self.to))
    }
}

/// A path with every variable standing for `value`, as upstreams see it.
#[must_use]
pub fn sample(binding: &Binding, value: &str) -> String {
    written(binding, |_| value.to_owned())
}

/// A path of a document.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// As OpenAPI writes it.
    pub(crate) text: String,
    pub(crate) variables: Vec<Variable>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// Path of the field it is a part of, as the rule names it.
    pub(crate) field: Option<Box<str>>,
    /// The only wildcard of its field, without a literal beside it.
    pub(crate) is_whole: bool,
    /// `**`.
    pub(crate) is_rest: bool,
}

pub(crate) fn template(binding: &Binding) -> Template {
    let (pieces, _) = binding.shape();
    let mut variables: Vec<Variable> = Vec::new();
    let text = written(binding, |piece| {
        let field = piece.variable.clone();
        let its = pieces.iter().filter(|other| other.variable == field);
        let wildcards = its.clone().filter(|other| !is_literal(other)).count();
        let stem = field.as_deref().unwrap_or("segment");
        let before = variables.iter().filter(|it| it.field == field).count();
        let mut name = match (wildcards, &field) {
            (1, Some(_)) => stem.to_owned(),
            _ => format!("{stem}_{}", before + 1),
        };
        while variables.iter().any(|it| it.name == name) {
            name.push('_');
        }
        let written = format!("{{{name}}}");
        variables.push(Variable {
            name,
            is_whole: field.is_some() && its.count() == 1,
            field,
            is_rest: piece.segment == Segment::Rest,
        });
        written
    });
    Template { text, variables }
}

fn is_literal(piece: &Piece) -> bool {
    matches!(piece.segment, Segment::Literal(_))
}

/// The path with something for each wildcard.
fn written(binding: &Binding, mut wildcard: impl FnMut(&Piece) -> String) -> String {
    let (pieces, verb) = binding.shape();
    let mut text = String::new();
    for piece in &pieces {
        text.push('/');
        match &piece.segment {
            Segment::Literal(literal) => text.push_str(literal),
            Segment::One | Segment::Rest => text.push_str(&wildcard(piece)),
        }
    }
    if text.is_empty() {
        text.push('/');
    }
    if let Some(verb) = verb {
        text.push(':');
        text.push_str(&verb);
    }
    text
}

/// Two paths that OpenAPI takes for the same: only the names of variables differ.
pub(crate) fn normal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_inside = false;
    for c in text.chars() {
        match c {
            '{' => is_inside = true,
            '}' => is_inside = false,
            _ if is_inside => continue,
            _ => {}
        }
        out.push(c);
    }
    out
}
