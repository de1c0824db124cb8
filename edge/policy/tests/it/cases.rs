//! Golden cases: `tests/cases/NAME.case` holds policy files, a line `----`, and what comes of them.
//!
//! `UPDATE_CASES=1 cargo test -p palisade-policy` writes what comes of them into the files; the
//! difference is for a person to judge.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::folder::Scratch;
use crate::summary::summary;

const SEPARATOR: &str = "\n----\n";

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|ext| ext == "case"))
        .collect();
    cases.sort();
    cases
}

/// `-- file: name` begins another file; before the first it is `policy.yaml`.
fn scratch(input: &str) -> Scratch {
    let scratch = Scratch::new();
    let mut name = "policy.yaml";
    let mut text = String::new();
    for line in input.lines() {
        if let Some(next) = line.strip_prefix("-- file: ") {
            if !text.is_empty() {
                scratch.write(name, &text);
            }
            (name, text) = (next, String::new());
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    scratch.write(name, &text);
    scratch
}

fn outcome(input: &str) -> String {
    match scratch(input).load() {
        Ok(loaded) if loaded.warnings.0.is_empty() => summary(&loaded.policy),
        Ok(loaded) => format!("{}{}\n", summary(&loaded.policy), loaded.warnings),
        Err(diagnostics) => format!("{diagnostics}\n"),
    }
}

#[test]
fn every_case_comes_out_as_written() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut wrong = Vec::new();
    for path in cases() {
        let text = std::fs::read_to_string(&path).unwrap();
        let (input, expected) = text.split_once(SEPARATOR).unwrap_or((text.trim_end(), ""));
        let actual = outcome(input);
        if actual == expected {
            continue;
        }
        if update {
            std::fs::write(&path, format!("{input}{SEPARATOR}{actual}")).unwrap();
        } else {
            wrong.push(format!(
                "{}\n--- expected\n{expected}\n--- actual\n{actual}",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Whoever has never seen the tool must be able to mend a file by its message alone; the corpus of
/// broken files is where a person judges that.
#[test]
fn many_files_are_broken() {
    let outcome = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        text.split_once(SEPARATOR).unwrap().1.to_owned()
    };
    let is_broken = |text: &String| {
        let mut lines = text.lines().filter(|line| !line.contains(" warning: "));
        lines.any(|line| !line.starts_with(' ') && line.contains(" [P") && line.ends_with(']'))
    };
    let broken = cases().iter().map(outcome).filter(is_broken).count();
    assert!(broken >= 120, "{broken}");
}

/// A code that no case and no test reaches is a promise nobody checks.
#[test]
fn every_code_is_reached() {
    let source = include_str!("../../../documents/src/codes.rs");
    let quoted = source
        .split('"')
        .filter(|part| part.len() == 4 && part.starts_with('P'));
    let codes: BTreeSet<&str> = quoted.collect();
    assert!(codes.len() > 30, "{codes:?}");
    let mut texts = vec![
        include_str!("hostile.rs").to_owned(),
        include_str!("environment.rs").to_owned(),
        include_str!("../../src/format/tests.rs").to_owned(),
    ];
    texts.extend(
        cases()
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap()),
    );
    for code in codes {
        let reached = |text: &String| {
            text.contains(&format!("[{code}]")) || text.contains(&format!("\"{code}\""))
        };
        assert!(
            texts.iter().any(reached),
            "{code} is not reached by any case or test"
        );
    }
}

/// What the reference shows is what the language is: its examples compile.
#[test]
fn the_reference_is_true() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let reference = std::fs::read_to_string(manifest.join("../../policies/README.md")).unwrap();
    let scratch = Scratch::new();
    let pem = |name: &str| std::fs::read(scratch.root().join("certs").join(name)).unwrap();
    scratch.write_beside("certs/dev/ca.pem", &pem("ca.pem"));
    scratch.write_beside("certs/dev/mesh/edge.pem", &pem("edge.pem"));
    scratch.write_beside("certs/dev/mesh/edge.key", &pem("edge.key"));
    scratch.write_beside("policies/descriptors/core.pb", core_proto::DESCRIPTOR_SET);
    let examples = reference
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    for (number, example) in examples.enumerate() {
        let version = if example.starts_with("version") {
            ""
        } else {
            "version: 1\n"
        };
        scratch.write(
            &format!("example{number}.yaml"),
            &format!("{version}{example}"),
        );
    }
    let loaded = scratch
        .load()
        .unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert_eq!(loaded.policy.routes.routes().count(), 4);
}
