//! The schema and the tables of the reference are made from the types of the language.
//!
//! `UPDATE_CASES=1 cargo test -p palisade-policy` writes both.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::fields::keys;

/// `<!-- keys: cluster, timeouts = timeouts -->`: the type, then those that belong to its keys.
const BEGIN: &str = "<!-- keys: ";
const END: &str = "<!-- end of keys -->";

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

/// The file holds the text, or is made to.
fn is_current(path: &Path, text: &str) {
    let written = std::fs::read_to_string(path).unwrap_or_default();
    if written != text && std::env::var_os("UPDATE_CASES").is_some() {
        return std::fs::write(path, text).unwrap();
    }
    assert!(
        written == text,
        "{} is not what the types say: run with UPDATE_CASES=1",
        path.display()
    );
}

#[test]
fn the_schema_is_current() {
    let text = serde_json::to_string_pretty(&palisade_policy::schema()).unwrap();
    is_current(
        &policies().join("palisade.schema.json"),
        &format!("{text}\n"),
    );
}

#[test]
fn the_tables_of_keys_are_current() {
    let schema = palisade_policy::schema();
    let path = policies().join("README.md");
    let reference = std::fs::read_to_string(&path).unwrap();
    let mut text = String::new();
    let mut shown = BTreeSet::new();
    let mut rest = reference.as_str();
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (list, after) = after.split_once(" -->\n").unwrap();
        let (_, after) = after.split_once(END).unwrap();
        let table = table(&schema, list, &mut shown);
        write!(text, "{before}{BEGIN}{list} -->\n{table}{END}").unwrap();
        rest = after;
    }
    text.push_str(rest);
    is_current(&path, &text);
    let all: BTreeSet<String> = keys().into_iter().collect();
    let lost: Vec<_> = all.difference(&shown).collect();
    assert!(lost.is_empty(), "keys without a table: {lost:?}");
}

fn table(schema: &Value, list: &str, shown: &mut BTreeSet<String>) -> String {
    let mut types = list.split(", ");
    let mut table = "\n| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    let nested: Vec<(&str, &str)> = types
        .clone()
        .skip(1)
        .map(|part| part.split_once(" = ").unwrap())
        .collect();
    rows(
        schema,
        ("", types.next().unwrap()),
        &nested,
        shown,
        &mut table,
    );
    table.push('\n');
    table
}

fn rows(
    schema: &Value,
    (prefix, owner): (&str, &str),
    nested: &[(&str, &str)],
    shown: &mut BTreeSet<String>,
    table: &mut String,
) {
    let definition = match owner {
        "Document" => schema,
        _ => &schema["definitions"][owner],
    };
    let own = |key: &String| {
        let (of, key) = key.split_once('.')?;
        (of.trim_end_matches("Doc") == owner || of == owner).then(|| key.to_owned())
    };
    for key in keys().iter().filter_map(own) {
        let description = definition["properties"][&key]["description"]
            .as_str()
            .unwrap_or_else(|| panic!("{owner} has no `{key}`"));
        let (meaning, kind) = description
            .rsplit_once("\n\n")
            .unwrap_or_else(|| panic!("{owner}.{key} has no type: {description}"));
        let (kind, default) = kind
            .split_once("; ")
            .unwrap_or_else(|| panic!("{owner}.{key} has no default: {kind}"));
        let default = default.strip_prefix("default: ").unwrap_or(default);
        let meaning = meaning.replace("\n\n", " ").replace('|', "\\|");
        writeln!(
            table,
            "| `{prefix}{key}` | {kind} | {default} | {} |",
            cell(&meaning)
        )
        .unwrap();
        shown.insert(format!(
            "{owner}{}.{key}",
            if owner == "Document" { "" } else { "Doc" }
        ));
        if let Some((_, inner)) = nested.iter().find(|(name, _)| *name == key) {
            rows(schema, (&format!("{key}."), inner), &[], shown, table);
        }
    }
}

/// A sentence as a phrase.
fn cell(meaning: &str) -> String {
    let phrase = meaning.strip_suffix('.').unwrap_or(meaning);
    let mut letters = phrase.chars();
    match (letters.next(), phrase.chars().nth(1)) {
        (Some(first), Some(second)) if !second.is_ascii_uppercase() && second != '-' => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => phrase.to_owned(),
    }
}
