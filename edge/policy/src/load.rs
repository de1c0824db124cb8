//! A folder to a policy: read, parse, compile; all faults at once.
//!
//! Invariant: what is wrong in one file hides nothing about another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::compile;
use crate::decode::{self, NodeBudget};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::document::Document;
use crate::environment::Environment;
use crate::files::{FileFacts, Folder, SourceFile};
use crate::model::Policy;
use crate::report::Report;
use crate::salvage::{self, Buried, LastGood, Salvaged};
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
    /// The same of what is on disk: another one where files are at fault and held.
    pub disk_hash: String,
    /// What is wrong with the files, where a policy could be made of them nevertheless.
    pub salvaged: Option<Salvaged>,
    pub(crate) sources: Vec<SourceFile>,
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
            revocations: _,
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
    pub(crate) fn facts(&self) -> Facts {
        Facts {
            hash: self.hash.clone(),
            disk_hash: self.disk_hash.clone(),
            files: self.files.clone(),
            sources: self.sources.clone(),
            routes: self.policy.routes.routes().count(),
            salvaged: self.salvaged.clone(),
        }
    }
}

/// Read, parse and compile a folder. Reads files: not for an async task.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(dir: &Path) -> Result<Loaded, Diagnostics> {
    attempt(dir, None).outcome
}

/// One file as a folder of its own, without what it refers to, as at the start of an edge: for tests
/// of the loader itself.
///
/// # Errors
/// Everything that is wrong with it, where no policy can be made of it.
pub fn load_text(text: &str) -> Result<Loaded, Diagnostics> {
    let source = SourceFile {
        name: "policy.yaml".into(),
        text: text.into(),
        facts: None,
        fault: None,
    };
    let good = LastGood {
        is_start: true,
        ..LastGood::default()
    };
    let folder = Folder::of(Path::new("/nonexistent"), vec![source]);
    attempt_with(folder, &|_| None, Some(&good)).outcome
}

/// As `load`, with another environment than the process has.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_with(dir: &Path, environment: Lookup<'_>) -> Result<Loaded, Diagnostics> {
    attempt_with(Folder::read(dir), environment, None).outcome
}

/// The value of a variable of the environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is not UTF-8 is as if it were not set.
pub(crate) fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A load, and what a watcher has to know about it even if it failed.
pub(crate) struct Attempt {
    pub(crate) outcome: Result<Loaded, Diagnostics>,
    /// Changes when a file does that it depends on.
    pub(crate) seen: String,
    pub(crate) disk_hash: String,
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
            seen: message.to_owned(),
            disk_hash: message.to_owned(),
            inputs: Vec::new(),
        }
    }
}

/// Load a folder; where it is at fault and `good` is given, what can be saved of it.
pub(crate) fn attempt(dir: &Path, good: Option<&LastGood>) -> Attempt {
    attempt_with(Folder::read(dir), &process_environment, good)
}

pub(crate) fn attempt_with(
    mut folder: Folder,
    environment: Lookup<'_>,
    good: Option<&LastGood>,
) -> Attempt {
    let Trial { policy, report } = trial(&mut folder, environment, &Buried::default());
    let disk_hash = folder.hash();
    let mut seen = disk_hash.clone();
    let mut inputs = folder.input_paths();
    let saved = good
        .filter(|_| report.has_errors())
        .and_then(|good| salvage::salvage(&folder, environment, &report, good));
    let has_errors = report.has_errors();
    let diagnostics = report.finish(&folder.sources);
    let outcome = match saved {
        None if has_errors => Err(diagnostics),
        None => Ok(loaded(folder, policy, diagnostics, disk_hash.clone())),
        Some(saved) => {
            seen += &saved.folder.inputs_hash();
            inputs.extend(saved.folder.input_paths());
            inputs.sort();
            inputs.dedup();
            let warnings = saved.report.finish(&saved.folder.sources);
            let mut loaded = loaded(saved.folder, saved.policy, warnings, disk_hash.clone());
            loaded.salvaged = Some(saved.salvaged.because(diagnostics));
            Ok(loaded)
        }
    };
    Attempt {
        outcome,
        seen,
        disk_hash,
        inputs,
    }
}

fn loaded(folder: Folder, policy: Policy, warnings: Diagnostics, disk_hash: String) -> Loaded {
    Loaded {
        policy,
        warnings,
        hash: folder.hash(),
        files: folder.facts(),
        disk_hash,
        salvaged: None,
        sources: folder.sources,
    }
}

/// What came of a folder's texts; the policy is only good where the report has no errors.
pub(crate) struct Trial {
    pub(crate) policy: Policy,
    pub(crate) report: Report,
}

/// Decode and compile without what is buried.
pub(crate) fn trial(folder: &mut Folder, environment: Lookup<'_>, buried: &Buried) -> Trial {
    let mut report = Report::default();
    folder.report(&mut report);
    let mut documents = documents(folder, environment, &mut report);
    // What compiling finds is not: what is buried is not compiled.
    report.excuse(|mark, fault| buried.excuses(mark, fault));
    for document in &mut documents {
        document.bury(buried.places());
    }
    let policy = compile::policy(&documents, folder, buried.places(), &mut report);
    Trial { policy, report }
}

pub(crate) fn documents(
    folder: &Folder,
    environment: Lookup<'_>,
    report: &mut Report,
) -> Vec<Document> {
    let mut budget = NodeBudget::default();
    let sources = (0..).zip(&folder.sources);
    let read = sources.filter(|(_, source)| source.fault.is_none());
    let trees: Vec<_> = read
        .filter_map(|(index, source)| decode::tree(index, &source.text, &mut budget, report))
        .collect();
    let mut environment = Environment::declared(trees.iter(), environment, report);
    let mut documents = Vec::with_capacity(trees.len());
    for tree in trees {
        let tree = environment.put_into(tree, report);
        documents.extend(decode::document(&tree, report));
    }
    environment.report_unused(report);
    documents
}

/// A text by its name, for what keeps several policies at once.
pub(crate) fn source(name: &str, text: Arc<str>, facts: FileFacts) -> SourceFile {
    SourceFile {
        name: name.into(),
        text,
        facts: Some(facts),
        fault: None,
    }
}
