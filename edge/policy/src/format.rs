//! One way to write a policy file: indentation, quotes, spaces and long lines; the content stays.
//!
//! Invariant: the values and the comments of what comes out are those of what went in, and what
//! comes out stays as it is when it goes in again. What cannot be held to that is left alone.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use pretty_yaml::config::{FormatOptions, LanguageOptions, LayoutOptions, LineBreak};

use crate::codes;
use crate::diagnostic::{Diagnostics, Fault, Mark};
use crate::files::{SourceFile, read_source};
use crate::report::Report;
use crate::walk::walk;
use crate::yaml::{self, Node, Value};

/// Columns.
const WIDTH: usize = 100;
/// Comments may settle only in the second pass; what moves on after this many would never rest.
const PASSES_MAX: usize = 4;

/// A policy file, and how it is to be written.
#[derive(Debug)]
pub struct Formatted {
    /// As policies name it.
    pub name: Arc<str>,
    pub path: std::path::PathBuf,
    /// What is in the file, and what is to be; or why nothing can be said.
    pub texts: Result<(String, String), Diagnostics>,
}

/// A policy file, or every policy file of a folder. Reads files, writes none.
///
/// # Errors
/// The folder cannot be walked.
pub fn format(path: &Path) -> Result<Vec<Formatted>, Diagnostics> {
    if !path.is_dir() {
        let name = path.to_string_lossy().into();
        return Ok(vec![file(path, name)]);
    }
    let walk = walk(path);
    if !walk.faults.is_empty() {
        let (mut report, mut sources) = (Report::default(), Vec::new());
        for (index, (name, fault)) in (0..).zip(walk.faults) {
            report.push(Mark::of_file(index), fault);
            sources.push(source(name, String::new()));
        }
        return Err(report.finish(&sources));
    }
    let found = walk.found.into_iter();
    Ok(found.map(|found| file(&found.path, found.name)).collect())
}

fn file(path: &Path, name: Arc<str>) -> Formatted {
    let mut report = Report::default();
    let (text, formatted) = match read_source(path) {
        Ok(text) => {
            let formatted = format_text(&text, &mut report);
            (text, formatted)
        }
        Err(fault) => {
            report.push(Mark::of_file(0), fault);
            (String::new(), None)
        }
    };
    let texts = match formatted {
        Some(formatted) => Ok((text, formatted)),
        None => Err(report.finish(&[source(name.clone(), text)])),
    };
    Formatted {
        name,
        path: path.to_owned(),
        texts,
    }
}

fn source(name: Arc<str>, text: String) -> SourceFile {
    SourceFile {
        name,
        text: text.into(),
        facts: None,
        fault: None,
    }
}

/// None where the text is at fault, or cannot be formatted safely; why is in the report.
fn format_text(text: &str, report: &mut Report) -> Option<String> {
    let before = Content::of(text, report)?;
    let mut formatted = text.to_owned();
    for _ in 0..PASSES_MAX {
        let Ok(mut next) = pretty_yaml::format_text(&formatted, &options()) else {
            return cannot("the formatter does not understand it", report);
        };
        if next.trim().is_empty() {
            next.clear();
        }
        if next == formatted {
            // Faults of what came out would be about lines that nobody has.
            let after = Content::of(&formatted, &mut Report::default());
            return if after.is_some_and(|after| after.is_as(&before)) {
                Some(formatted)
            } else {
                cannot("formatting would change what it says", report)
            };
        }
        formatted = next;
    }
    cannot("formatting it comes to no end", report)
}

fn cannot(why: &str, report: &mut Report) -> Option<String> {
    let fault = Fault::new(codes::NOT_FORMATTED, format!("left as it is: {why}"));
    let hint = "write it in a simpler form, or format it by hand";
    report.push(Mark::of_file(0), fault.hint(hint));
    None
}

fn options() -> FormatOptions {
    FormatOptions {
        layout: LayoutOptions {
            print_width: WIDTH,
            indent_width: 2,
            line_break: LineBreak::Lf,
        },
        language: LanguageOptions::default(),
    }
}

/// What a text says: its values and its comments.
struct Content {
    tree: Option<Rc<Node>>,
    comments: Vec<String>,
}

impl Content {
    fn of(text: &str, report: &mut Report) -> Option<Self> {
        let tree = yaml::parse(0, text, report);
        if report.has_errors() {
            return None;
        }
        let comments = yaml::comments(text);
        Some(Self { tree, comments })
    }

    fn is_as(&self, other: &Self) -> bool {
        let same_tree = match (&self.tree, &other.tree) {
            (Some(a), Some(b)) => is_same(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        same_tree && self.comments == other.comments
    }
}

/// Places aside; whether a word stands in quotes makes it text or not.
fn is_same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (
            Value::Scalar { text, plain },
            Value::Scalar {
                text: other,
                plain: is_plain,
            },
        ) => text == other && plain == is_plain,
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            let mut pairs = a.iter().zip(b);
            a.len() == b.len()
                && pairs.all(|((key, a), (other, b))| key.text == other.text && is_same(a, b))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
