//! A folder to the rules it holds, or to everything that is wrong with it.
//! Invariant: every file of the folder is read by someone; one that nobody knows
//! is an error, because its author thinks it is in force.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use palisade_documents::{
    codes,
    decode::{self, NodeBudget, Versioned},
    diagnostic::{Diagnostics, Fault, Mark, shown, suggestion},
    field::{At, Field},
    files::Folder,
    report::Report,
};
use prost_reflect::DescriptorPool;

use super::{Flags, Matrix, Policies, Providers, Roles, access, flags, providers, rbac};

/// The files, each with one kind of rules.
pub(super) const FILES: [&str; 4] = [FLAGS, RBAC, ACCESS, PROVIDERS];
const FLAGS: &str = "flags.yaml";
const RBAC: &str = "rbac.yaml";
const ACCESS: &str = "access.yaml";
const PROVIDERS: &str = "oidc-providers.yaml";
const NAME_BYTES_MAX: usize = 60;

/// What came of reading a folder.
pub struct Loaded {
    pub outcome: Result<Policies, Diagnostics>,
    pub(super) seen: Seen,
}

/// What a folder held: what differs from it has changed.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By file.
    pub(super) texts: BTreeMap<&'static str, Arc<str>>,
    /// Of all files, unreadable ones included.
    pub(super) hash: String,
}

/// Reads and compiles a folder. A file that is missing holds no rules.
pub fn load(dir: &Path) -> Loaded {
    let folder = Folder::read(dir);
    let mut report = Report::default();
    let mut budget = NodeBudget::default();
    let mut policies = Policies::default();
    let mut texts = BTreeMap::new();
    for (index, source) in (0..).zip(&folder.sources) {
        if let Some(fault) = &source.fault {
            report.push(Mark::of_file(index), fault.clone());
            continue;
        }
        let Some(known) = FILES.into_iter().find(|known| **known == *source.name) else {
            report.push(Mark::of_file(index), unknown_file(&source.name));
            continue;
        };
        texts.insert(known, source.text.clone());
        let mut document = Reading {
            index,
            text: &source.text,
            budget: &mut budget,
            report: &mut report,
        };
        match known {
            FLAGS => policies.flags = document.compile(flags::Document::default, Flags::compile),
            RBAC => policies.roles = document.compile(rbac::Document::default, Roles::compile),
            ACCESS => policies.access = document.compile(access::Document::default, matrix),
            _ => {
                let compile = Providers::compile;
                policies.providers = document.compile(providers::Document::default, compile);
            }
        }
    }
    let outcome = if report.has_errors() {
        Err(report.finish(&folder.sources))
    } else {
        Ok(policies)
    };
    Loaded {
        outcome,
        seen: Seen {
            texts,
            hash: folder.hash(),
        },
    }
}

/// Checked against every service there is, whichever this process runs.
fn matrix(document: &access::Document, report: &mut Report) -> Matrix {
    // Our own build made them.
    let pool = DescriptorPool::decode(core_proto::DESCRIPTOR_SET).unwrap_or_default();
    Matrix::compile(document, &pool, report)
}

/// One file on its way to its rules.
struct Reading<'a> {
    index: u32,
    text: &'a str,
    budget: &'a mut NodeBudget,
    report: &'a mut Report,
}

impl Reading<'_> {
    fn compile<D: Versioned, R>(
        &mut self,
        empty: impl FnOnce() -> D,
        compile: impl FnOnce(&D, &mut Report) -> R,
    ) -> R {
        let tree = decode::tree(self.index, self.text, self.budget, self.report);
        let document = tree.and_then(|tree| decode::document(&tree, self.report));
        compile(&document.unwrap_or_else(empty), self.report)
    }
}

fn unknown_file(name: &str) -> Fault {
    let message = format!("no service reads a file called {}", shown(name));
    let hint = suggestion(name, FILES).unwrap_or_else(|| format!("known: {}", FILES.join(", ")));
    Fault::new(codes::UNKNOWN_NAME, message).hint(hint)
}

/// The value of a key that must be there.
pub(super) fn missing<'f, T>(
    field: &'f Field<T>,
    mark: Mark,
    what: &str,
    key: &str,
    report: &mut Report,
) -> Option<&'f At<T>> {
    if field.is_absent() {
        let message = format!("the {what} has no `{key}`");
        report.push(mark, Fault::new(codes::MISSING, message));
    }
    field.given()
}

/// Lower case, digits and `-`, a letter first.
pub(super) fn is_name(at: &At<String>, what: &str, report: &mut Report) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let name = &at.value;
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(plain);
    if !is_name {
        let message = format!("{} is not a name of a {what}", shown(name));
        let hint =
            format!("lower case letters, digits and `-`, a letter first, at most {NAME_BYTES_MAX}");
        report.push(at.mark, Fault::new(codes::BAD_NAME, message).hint(hint));
    }
    is_name
}
