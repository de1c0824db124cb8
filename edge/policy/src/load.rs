//! A folder to a policy: read, parse, compile; all faults at once.
//!
//! Invariant: what is wrong in one file hides nothing about another.

use std::path::{Path, PathBuf};

use crate::compile;
use crate::decode::{self, NodeBudget};
use crate::diagnostic::{Diagnostic, Diagnostics, Report, Severity};
use crate::environment::Environment;
use crate::files::{FileFacts, Folder};
use crate::model::Policy;
use crate::store::Facts;

/// A compiled folder.
#[derive(Debug)]
pub struct Loaded {
    pub policy: Policy,
    /// Lints; the policy is used all the same.
    pub warnings: Diagnostics,
    /// Policy files, then the files they refer to.
    pub files: Vec<FileFacts>,
    /// SHA-256 over the names and contents of all of them, hex.
    pub hash: String,
}

impl Loaded {
    /// One line for people: how much of what, and which version.
    pub fn summary(&self) -> String {
        let count = |number: usize, noun: &str| {
            format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
        };
        let Policy {
            listeners: _,
            routes,
            clusters,
            issuers,
            api_keys: _,
            access: _,
            limits,
            hosts: _,
            tests: _,
        } = &self.policy;
        let parts = [
            count(routes.routes().count(), "route"),
            count(clusters.len(), "cluster"),
            count(issuers.len(), "issuer"),
            count(limits.len(), "limit"),
        ];
        format!(
            "{} from {}, sha256 {}",
            parts.join(", "),
            count(self.files.len(), "file"),
            self.hash
        )
    }

    /// What it was loaded from.
    pub fn facts(&self) -> Facts {
        Facts {
            hash: self.hash.clone(),
            files: self.files.clone(),
        }
    }
}

/// Read, parse and compile a folder. Reads files: not for an async task.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(dir: &Path) -> Result<Loaded, Diagnostics> {
    attempt(dir).outcome
}

/// As `load`, with another environment than the process has.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_with(
    dir: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Diagnostics> {
    attempt_with(dir, environment).outcome
}

/// What is not UTF-8 is as if it were not set.
fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A load, and what a watcher has to know about it even if it failed.
pub(crate) struct Attempt {
    pub(crate) outcome: Result<Loaded, Diagnostics>,
    pub(crate) hash: String,
    /// Files outside of the folder's own that it depends on.
    pub(crate) inputs: Vec<PathBuf>,
}

impl Attempt {
    /// For a failure that has no place in the files.
    pub(crate) fn failed(message: &str) -> Self {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            file: ".".to_owned(),
            line: 0,
            column: 0,
            length: 0,
            message: message.to_owned(),
            source_line: String::new(),
            source_line_cut: 0,
            hint: None,
            code: crate::codes::UNREADABLE,
        };
        Self {
            outcome: Err(Diagnostics(vec![diagnostic])),
            hash: message.to_owned(),
            inputs: Vec::new(),
        }
    }
}

pub(crate) fn attempt(dir: &Path) -> Attempt {
    attempt_with(dir, &process_environment)
}

fn attempt_with(dir: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Attempt {
    let mut report = Report::default();
    let mut folder = Folder::read(dir, &mut report);
    let mut budget = NodeBudget::default();
    let mut trees = Vec::with_capacity(folder.sources.len());
    for (index, source) in folder.sources.iter().enumerate() {
        if source.is_unread {
            continue;
        }
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        trees.extend(decode::tree(index, &source.text, &mut budget, &mut report));
    }
    let mut environment = Environment::declared(trees.iter(), environment, &mut report);
    let mut documents = Vec::with_capacity(trees.len());
    for tree in trees {
        let tree = environment.put_into(tree, &mut report);
        documents.extend(decode::document(&tree, &mut report));
    }
    environment.report_unused(&mut report);
    let policy = compile::policy(&documents, &mut folder, &mut report);
    let (hash, inputs) = (folder.hash(), folder.input_paths());
    let has_errors = report.has_errors();
    let diagnostics = report.finish(&folder.sources);
    let outcome = if has_errors {
        Err(diagnostics)
    } else {
        Ok(Loaded {
            policy,
            warnings: diagnostics,
            hash: hash.clone(),
            files: folder.into_facts(),
        })
    };
    Attempt {
        outcome,
        hash,
        inputs,
    }
}
