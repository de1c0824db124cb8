//! Every key of the language has an effect: set to something else, the model is another.
//!
//! The list is held against the source of the document types, so that a key cannot be added
//! without saying here what it does (keys that were read and ignored are how limits fail open).

mod actions;
mod auth;
mod base;
mod clusters;
mod forwarding;
mod hosts;
mod inherited;
mod listeners;
mod matches;
mod tests;

use std::collections::BTreeSet;

use palisade_policy::describe::{Definition, describe};
use palisade_policy::diff::changes;

use crate::folder::Scratch;
use base::{BASE, CHANGES};

/// A part of the language with a policy of its own to change.
struct Section {
    base: &'static str,
    /// Key, text of `base`, what its first occurrence is replaced by.
    changes: &'static [(&'static str, &'static str, &'static str)],
}

const SECTIONS: [&Section; 9] = [
    &actions::SECTION,
    &auth::SECTION,
    &clusters::SECTION,
    &forwarding::SECTION,
    &hosts::SECTION,
    &inherited::SECTION,
    &listeners::SECTION,
    &matches::SECTION,
    &tests::SECTION,
];

/// Keys without an effect on the model.
const NO_EFFECT: &[&str] = &["Document.version"];

/// Keys whose effect nobody is told.
const NOT_DESCRIBED: &[&str] = &[];

/// The policy as `palisade diff` compares it.
fn described(text: &str) -> Vec<Definition> {
    let scratch = Scratch::with(&[("policy.yaml", text)]);
    let loaded = scratch.load();
    let loaded = loaded.unwrap_or_else(|diagnostics| panic!("{diagnostics}\n{text}"));
    describe(&loaded.policy, &scratch.policies())
}

#[track_caller]
fn assert_described(key: &str, before: &[Definition], after: &str) {
    let is_seen = !changes(before, &described(after)).is_empty();
    let is_known = NOT_DESCRIBED.contains(&key);
    assert!(is_seen != is_known, "{key}: a diff sees it {is_seen}");
}

/// Everything of the model, positions aside; what is secret is in it as a fingerprint.
fn model(text: &str) -> String {
    let loaded = Scratch::with(&[("policy.yaml", text)]).load();
    let policy = loaded
        .unwrap_or_else(|diagnostics| panic!("{diagnostics}\n{text}"))
        .policy;
    let debug = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        policy.listeners,
        policy.api_keys,
        policy.clusters,
        policy.issuers,
        (policy.limits, policy.access),
        policy.routes.rules(),
        policy.hosts.hosts(),
        policy.tests
    );
    // Lines move, and a table of bindings is a hash map; what can be set about it is in its options.
    let debug = without(&debug, "Origin {", "}");
    let debug = without(&debug, "translator: Some(Translator {", "options:");
    // Scratch folders have random names.
    let parts = debug.split('/').filter(|part| !part.starts_with(".tmp"));
    parts.collect::<Vec<_>>().join("/")
}

fn without(text: &str, from: &str, to: &str) -> String {
    let mut pieces = text.split(from);
    let mut left = pieces.next().unwrap().to_owned();
    for piece in pieces {
        left.push_str(from);
        left.push_str(piece.split_once(to).unwrap().1);
    }
    left
}

#[test]
fn every_key_has_an_effect() {
    let base = model(BASE);
    assert!(base == model(BASE), "the model differs without a change");
    let description = described(BASE);
    assert_eq!(changes(&description, &described(BASE)), []);
    for (key, before, after) in CHANGES {
        let changed = match *key {
            // What these refer to changes with them.
            "IssuerDoc.name" => BASE
                .replace("name: id\n", "name: id2\n")
                .replace("{issuer: id}", "{issuer: id2}"),
            "RouteDoc.cluster" => BASE
                .replacen(before, after, 1)
                .replace("cluster: core", "cluster: other"),
            "AuthDoc.issuer" => {
                let other = "  - {name: other, issuer: o, audiences: [a], jwks: {file: a}, algorithms: [EdDSA]}\n";
                let two = BASE.replace("issuers:\n", &format!("issuers:\n{other}"));
                let other = two.replace("{issuer: id}", "{issuer: other}");
                assert!(model(&two) != model(&other), "{key}");
                assert_described(key, &described(&two), &other);
                continue;
            }
            _ => BASE.replacen(before, after, 1),
        };
        assert_ne!(changed, BASE, "{key} changes nothing in the text");
        assert!(model(&changed) != base, "{key} has no effect");
        assert_described(key, &description, &changed);
    }
}

#[test]
fn every_key_of_a_section_has_an_effect() {
    for Section { base, changes } in SECTIONS {
        if changes.is_empty() {
            continue;
        }
        let (before, description) = (model(base), described(base));
        for (key, from, to) in *changes {
            let changed = base.replacen(from, to, 1);
            assert_ne!(&changed, base, "{key} changes nothing in the text");
            assert!(model(&changed) != before, "{key} has no effect");
            // Tests decide nothing about requests: a difference in them is none of the policy's.
            if !std::ptr::eq(*base, tests::SECTION.base) {
                assert_described(key, &description, &changed);
            }
        }
    }
}

/// Every key of the language as `Type.key`, in the order of the source.
pub(crate) fn keys() -> Vec<String> {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = std::fs::read_dir(manifest.join("src/document")).unwrap();
    let documents = documents.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let source: String = documents.collect();
    let mut keys = Vec::new();
    let mut owner = "";
    for line in source.lines() {
        if let Some(rest) = line.strip_prefix("pub(crate) struct ") {
            owner = rest.trim_end_matches(" {");
        } else if line.starts_with("    own {") || line.starts_with("    inherited {") {
            owner = "RouteDoc";
        } else if let Some((key, _)) = line
            .strip_prefix("        ")
            .filter(|_| owner == "RouteDoc")
            .filter(|rest| {
                rest.starts_with(|c: char| c.is_ascii_lowercase()) && rest.ends_with(',')
            })
            .and_then(|rest| rest.split_once(": "))
        {
            keys.push(format!("{owner}.{key}"));
        } else if let Some((key, _)) = line
            .strip_prefix("    pub(crate) ")
            .and_then(|rest| rest.split_once(": "))
        {
            keys.push(format!("{owner}.{key}"));
        }
    }
    keys
}

#[test]
fn every_key_is_listed() {
    let keys: BTreeSet<String> = keys().into_iter().collect();
    let listed = CHANGES
        .iter()
        .map(|(key, ..)| *key)
        .chain(
            SECTIONS
                .iter()
                .flat_map(|section| section.changes.iter().map(|(key, ..)| *key)),
        )
        .chain(NO_EFFECT.iter().copied());
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    assert_eq!(keys, listed);
}

#[test]
fn fingerprints_change_with_what_they_stand_for() {
    let prints = |text: &str| {
        let loaded = Scratch::with(&[("policy.yaml", text)]).load();
        let policy = loaded
            .unwrap_or_else(|diagnostics| panic!("{diagnostics}\n{text}"))
            .policy;
        (policy.clusters[0].fingerprint, policy.limits[0].fingerprint)
    };
    assert_eq!(
        prints(BASE),
        prints(&format!("# moved\n\n{BASE}")),
        "moving a definition restarts it"
    );
    let clusters = clusters::SECTION;
    for (base, changes) in [(BASE, CHANGES), (clusters.base, clusters.changes)] {
        let before = prints(base);
        for (key, from, to) in changes {
            let (owner, _) = key.split_once('.').unwrap();
            let expected = match owner {
                "ClusterDoc" | "TlsDoc" | "TimeoutsDoc" | "EjectionDoc" => (true, false),
                "LimitDoc" | "LimitKeyDoc" => (false, true),
                _ => continue,
            };
            let now = prints(&base.replacen(from, to, 1));
            assert_eq!((now.0 != before.0, now.1 != before.1), expected, "{key}");
        }
    }
}
