//! Every rule has a page, and its examples are what they say.

use std::collections::BTreeSet;

use palisade_policy::rules::{Rule, rules};

use crate::folder::Scratch;

/// What the examples take as given.
const GIVEN: &str = r#"
version: 1
clusters: [{ name: orders, endpoints: ["127.0.0.1:8080"] }]
issuers:
  - name: palisade
    issuer: https://id.example
    audiences: [orders]
    jwks: { url: "https://id.example/jwks.json" }
    algorithms: [EdDSA]
limits: [{ name: per-client, key: client_address, rate: 100/s }]
"#;

fn examples(rule: &Rule, kind: &str) -> Vec<&'static str> {
    let blocks = rule.text.split("```yaml ").skip(1);
    let of_kind = blocks.filter_map(|block| block.strip_prefix(kind)?.strip_prefix('\n'));
    of_kind
        .filter_map(|block| block.split("```").next())
        .collect()
}

/// Codes that an example has; none when it is good.
fn codes(example: &str) -> BTreeSet<String> {
    let version = if example.starts_with("version") {
        ""
    } else {
        "version: 1\n"
    };
    let text = format!("{version}{example}");
    let scratch = Scratch::with(&[("given.yaml", GIVEN), ("example.yaml", &text)]);
    let found = match scratch.load() {
        Ok(loaded) => loaded.warnings,
        Err(diagnostics) => diagnostics,
    };
    let of_example = found
        .0
        .into_iter()
        .filter(|fault| fault.file == "example.yaml");
    of_example.map(|fault| fault.code.to_owned()).collect()
}

#[test]
fn examples_are_what_they_say() {
    let mut wrong = Vec::new();
    let mut shown = 0;
    for rule in rules() {
        shown += examples(&rule, "wrong").len();
        for example in examples(&rule, "wrong") {
            let found = codes(example);
            if !found.contains(rule.id) {
                wrong.push(format!(
                    "{} is not reported for\n{example}{found:?}",
                    rule.id
                ));
            }
        }
        for example in examples(&rule, "right") {
            let found = codes(example);
            let faults: Vec<&String> = found
                .iter()
                .filter(|code| *code < &"P200".to_owned())
                .collect();
            if found.contains(rule.id) || !faults.is_empty() {
                wrong.push(format!("{} shows as right\n{example}{found:?}", rule.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(shown > 30, "{shown} examples");
}

#[test]
fn every_code_has_a_page() {
    let source = include_str!("../../../documents/src/codes.rs");
    let quoted = source.split('"').skip(1).step_by(2);
    let codes: BTreeSet<&str> = quoted.filter(|part| part.len() == 4).collect();
    let pages: BTreeSet<&str> = rules().map(|rule| rule.id).collect();
    assert!(codes.len() > 30, "{codes:?}");
    assert_eq!(codes, pages);
    for Rule { id, title, text } in rules() {
        assert!(!title.is_empty() && text.len() > 60, "{id}");
    }
}
