//! The shape of the source, held by a test: who may know whom, how long a file may be, which
//! words may not appear, and that every shipped policy loads.

mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use tables::{ARROWS, BANNED_NAMES, FORBIDDEN, STAGES};

const FILE_LINES_MAX: usize = 450;

struct Source {
    /// Relative to the root it was found under, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Without the unit tests at its end: those may use what they like.
    fn code(&self) -> &str {
        if self.stem() == "tests" || self.path.contains("/tests/") {
            return "";
        }
        let opens_module = |at: &usize| {
            let rest = self.text.get(*at..).unwrap_or("");
            // Attributes may stand between the two lines.
            rest.lines()
                .skip(2)
                .take(8)
                .any(|line| line.starts_with("mod "))
        };
        let mut marks = self
            .text
            .match_indices("\n#[cfg(test)]\n")
            .map(|(at, _)| at);
        let end = marks.find(opens_module).unwrap_or(self.text.len());
        self.text.get(..end).unwrap_or("")
    }

    /// Top module: `stages/authn.rs` is `stages`.
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap_or("")
    }

    fn stem(&self) -> &str {
        self.path
            .rsplit('/')
            .next()
            .unwrap_or("")
            .trim_end_matches(".rs")
    }
}

fn sources(root: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let relative = path.strip_prefix(&root).expect("below the root");
                found.push(Source {
                    path: relative.display().to_string(),
                    text,
                });
            }
        }
    }
    assert!(!found.is_empty(), "no source below {}", root.display());
    found
}

/// Every `NAME` that follows `before` in the text.
fn names_after<'t>(text: &'t str, before: &'t str) -> impl Iterator<Item = &'t str> {
    text.match_indices(before).map(move |(at, _)| {
        let rest = text.get(at + before.len()..).unwrap_or("");
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        rest.get(..end).unwrap_or("")
    })
}

fn allowed<'a>(table: &[(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table
        .iter()
        .find(|(entry, _)| *entry == name)
        .map(|(_, arrows)| *arrows)
}

#[test]
fn modules_know_only_whom_they_may() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let Some(arrows) = allowed(&ARROWS, source.module()) else {
            wrong.push(format!(
                "{}: a new module needs an entry in ARROWS",
                source.path
            ));
            continue;
        };
        for target in names_after(source.code(), "crate::") {
            if target != source.module() && !arrows.contains(&target) {
                wrong.push(format!("{} names crate::{target}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn stages_take_facts_as_arguments() {
    let mut wrong = Vec::new();
    let stages: Vec<Source> = sources("src")
        .into_iter()
        .filter(|source| source.module() == "stages")
        .collect();
    for source in &stages {
        let arrows = allowed(&STAGES, source.stem());
        let Some(arrows) = arrows else {
            wrong.push(format!(
                "{}: a new stage needs an entry in STAGES",
                source.path
            ));
            continue;
        };
        let siblings = names_after(source.code(), "super::")
            .chain(names_after(source.code(), "crate::stages::"));
        for sibling in siblings {
            let is_stage = stages.iter().any(|other| other.stem() == sibling);
            if is_stage && !arrows.contains(&sibling) {
                wrong.push(format!("{} names the stage {sibling}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether a path is `file`, with or without its ending, or below the folder of that name.
fn is_in(path: &str, file: &str) -> bool {
    let rest = path.strip_prefix(file).filter(|_| !file.is_empty());
    rest.is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

#[test]
fn forbidden_words_do_not_appear() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        for (prefix, exceptions, words) in FORBIDDEN {
            let excepted = |file: &&str| is_in(&source.path, file);
            if !source.path.starts_with(prefix) || exceptions.iter().any(excepted) {
                continue;
            }
            let found = words.iter().filter(|word| source.code().contains(**word));
            wrong.extend(found.map(|word| format!("{} has `{word}`", source.path)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short_named_well_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!(
                "{} has {lines} lines, more than {FILE_LINES_MAX}",
                source.path
            ));
        }
        if source
            .path
            .split('/')
            .any(|part| BANNED_NAMES.contains(&part.trim_end_matches(".rs")))
        {
            wrong.push(format!("{}: a name that says nothing", source.path));
        }
        let header = source
            .text
            .lines()
            .take_while(|line| line.starts_with("//!"));
        let words: usize = header.map(|line| line.split_whitespace().count()).sum();
        if words < 5 {
            wrong.push(format!("{} does not say what it is for", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn copy_folder(from: &Path, to: &Path) -> usize {
    fs::create_dir_all(to).expect("a folder");
    let mut policies = 0;
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target: PathBuf = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            policies += copy_folder(&path, &target);
        } else {
            policies += usize::from(path.extension().is_some_and(|ending| ending == "yaml"));
            fs::copy(&path, &target).expect("a copy");
        }
    }
    policies
}

#[test]
fn shipped_policies_load() {
    palisade_edge::crypto::install();
    let scratch = tempfile::tempdir().expect("a temporary folder");
    // Where the shipped files look for certificates, seen from the policies folder.
    palisade_edge::dev_certs::ensure(&scratch.path().join("certs/dev")).expect("certificates");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the edge is in a workspace");
    let copied = copy_folder(
        &workspace.join("policies"),
        &scratch.path().join("policies"),
    );
    assert!(copied > 0, "no policy is shipped");
    let loaded = palisade_policy::load(&scratch.path().join("policies"));
    let loaded = loaded.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert!(
        loaded.policy.routes.routes().next().is_some(),
        "the shipped policies route nothing"
    );
    let now = palisade_edge::request_ctx::Now::monotonic();
    let policy = std::sync::Arc::new(loaded.policy);
    let snapshot = palisade_edge::snapshot::Snapshot::offline(policy, None, now);
    let report = palisade_edge::explain::cases::run(&snapshot.expect("a snapshot"), "");
    let failures = report.failures();
    assert!(failures.is_none(), "{}", failures.unwrap_or_default());
    let untested: Vec<_> = report.untested().collect();
    assert!(
        report.passed > 0 && untested.is_empty(),
        "no test reaches {untested:?}"
    );
}
