//! The schema against what the language takes and refuses, as an editor would read both.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::report::Report;
use crate::yaml::{self, Node};

/// What editors make of a file: plain words that look like numbers are numbers to them.
fn as_json(node: &Node) -> Value {
    match &node.value {
        yaml::Value::Scalar { text, plain: true } => match text.as_str() {
            "" | "~" | "null" => Value::Null,
            text => text.parse().unwrap_or_else(|_| json!(text)),
        },
        yaml::Value::Scalar { text, .. } => json!(text),
        yaml::Value::List(items) => items.iter().map(|item| as_json(item)).collect(),
        yaml::Value::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key.text.clone(), as_json(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

fn faults(text: &str) -> Vec<String> {
    let validator = jsonschema::validator_for(&super::schema()).unwrap();
    let tree = yaml::parse(0, text, &mut Report::default()).unwrap();
    let instance = as_json(&tree);
    let faults = validator
        .iter_errors(&instance)
        .map(|fault| format!("{}: {fault}", fault.instance_path()));
    faults.collect()
}

/// Name, files and outcome of each golden case.
fn cases() -> Vec<(String, Vec<String>, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let paths = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let cases = paths.filter(|path| path.extension().is_some_and(|ending| ending == "case"));
    let case = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let (input, outcome) = text.split_once("\n----\n").unwrap();
        let mut parts = input.split("-- file: ");
        let first = parts.next().unwrap().to_owned();
        let is_policy = |name: &str| {
            let is_left_out = |part: &str| part == "tests" || part.starts_with('.');
            (name.ends_with(".yaml") || name.ends_with(".yml")) && !name.split('/').any(is_left_out)
        };
        let named = parts.filter_map(|file| file.split_once('\n'));
        let named = named.filter(|(name, _)| is_policy(name));
        let files = std::iter::once(first).chain(named.map(|(_, text)| text.to_owned()));
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let files = files.filter(|file| !file.trim().is_empty()).collect();
        (name, files, outcome.to_owned())
    };
    cases.map(case).collect()
}

#[test]
fn what_compiles_is_valid() {
    let mut checked = 0;
    for (name, files, outcome) in cases() {
        if outcome.contains(" [P") {
            continue;
        }
        for file in files {
            let faults = faults(&file);
            assert!(faults.is_empty(), "{name}: {}", faults.join("\n"));
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}

#[test]
fn what_editors_can_tell_is_told() {
    let told = [
        "choices",
        "durations",
        "missing",
        "names",
        "rates",
        "sizes",
        "unknown_keys",
        "wrong_types",
    ];
    let cases = cases();
    for name in told {
        let (_, files, _) = cases.iter().find(|(case, ..)| case == name).unwrap();
        let found = files.iter().any(|file| !faults(file).is_empty());
        assert!(found, "{name} is valid to the schema");
    }
    for (text, is_valid) in [
        ("version: 1", true),
        ("version: 2", false),
        ("version: 1\ndefaults: { request_timeout: 1h30m }", true),
        ("version: 1\ndefaults: { request_timeout: off }", true),
        ("version: 1\ndefaults: { request_timeout: \"${T}\" }", true),
        ("version: 1\ndefaults: { request_timeout: 30 }", false),
        ("version: 1\ndefaults: { request_body_max: 0 }", true),
        ("version: 1\ndefaults: { request_body_max: 1 }", false),
        ("version: 1\ndefaults: { auth: none }", true),
        ("version: 1\ndefaults: { auth: nobody }", false),
        ("version: 1\ndefaults: { cluster: c }", false),
        (
            "version: 1\nhosts: [{ name: h, tls: { min_version: 1.3 } }]",
            true,
        ),
        (
            "version: 1\nhosts: [{ name: h, tls: { min_version: 1.1 } }]",
            false,
        ),
        ("version: 1\nlisteners: { connections: { max: 5 } }", true),
        ("version: 1\nlisteners: { connections: { max: 0 } }", false),
        (
            "version: 1\nlisteners: { connections: { max: \"${MAX}\" } }",
            true,
        ),
    ] {
        let faults = faults(text);
        assert_eq!(faults.is_empty(), is_valid, "{text}: {faults:?}");
    }
}

/// A key whose comment is not whole would be a key that nobody explains.
#[test]
fn every_key_says_what_it_is() {
    let schema = super::schema();
    let definitions = schema["definitions"].as_object().unwrap().values();
    for definition in definitions.chain([&schema]) {
        for (key, property) in definition["properties"].as_object().into_iter().flatten() {
            let description = property["description"].as_str().unwrap_or_default();
            let is_whole = description.contains("\n\n")
                && (description.contains("; default: ") || description.ends_with("; required"));
            assert!(
                is_whole && !description.starts_with('\n'),
                "{key}: {description:?}"
            );
        }
    }
}

#[test]
fn shipped_files_are_valid_formatted_and_name_the_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let schema = std::fs::canonicalize(root.join("policies/palisade.schema.json")).unwrap();
    let mut folders = vec![root.join("policies"), root.join("loadtest")];
    let mut checked = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // The services' own, in a language of their own.
                if !path.ends_with("policies/services") {
                    folders.push(path);
                }
                continue;
            }
            if path.extension().is_none_or(|ending| ending != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            if !text.contains("version: 1\n") {
                continue;
            }
            let named = text.strip_prefix("# yaml-language-server: $schema=");
            let named = named.and_then(|rest| rest.lines().next());
            let named = named.unwrap_or_else(|| panic!("{} names no schema", path.display()));
            let target = std::fs::canonicalize(folder.join(named)).unwrap();
            assert_eq!(target, schema, "{}", path.display());
            let faults = faults(&text);
            assert!(faults.is_empty(), "{}: {faults:?}", path.display());
            let formatted = crate::format::format(&path).unwrap().remove(0).texts;
            let (before, after) = formatted.unwrap();
            assert!(before == after, "{}: run `palisade fmt`", path.display());
            checked += 1;
        }
    }
    assert!(checked >= 12, "{checked}");
}
