//! Variables of the environment: what is put in, and what never is.

use palisade_policy::Loaded;

use crate::folder::{SECRETS, Scratch};
use crate::summary::summary;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, palisade_policy::Diagnostics> {
    let scratch = Scratch::with(&[("policy.yaml", text)]);
    palisade_policy::load_with(&scratch.policies(), &|name| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

const POLICY: &str = r#"version: 1
environment: [{ name: ORIGIN, default: "127.0.0.1:1" }, { name: BURST }]
clusters: [{ name: c, endpoints: ["${ORIGIN}"] }]
limits: [{ name: l, key: client_address, rate: 1/s, burst: "${BURST}" }]
routes: [{ name: r, matches: [{ path: / }], limits: [l], cluster: c }]
"#;

#[test]
fn what_is_set_wins_over_the_default() {
    let loaded = load(POLICY, &[("ORIGIN", "10.0.0.1:2"), ("BURST", "7")]).unwrap();
    let policy = &loaded.policy;
    assert_eq!(policy.clusters[0].endpoints[0].to_string(), "10.0.0.1:2");
    assert_eq!(policy.limits[0].burst, 7);
    let loaded = load(POLICY, &[("BURST", "7")]).unwrap();
    let endpoint = &loaded.policy.clusters[0].endpoints[0];
    assert_eq!(endpoint.to_string(), "127.0.0.1:1");
}

/// A value is text: it adds no key, no item and no line.
#[test]
fn values_never_become_structure() {
    for value in [
        "7, keys_max: 1",
        "7 }",
        "[7]",
        "7\nroutes: []",
        "~",
        "null",
        "",
    ] {
        let diagnostics = load(POLICY, &[("BURST", value)]).unwrap_err();
        let [fault] = diagnostics.0.as_slice() else {
            panic!("{value:?}: {diagnostics}")
        };
        assert_eq!((fault.line, fault.code), (4, "P013"), "{value:?}: {fault}");
    }
}

#[test]
fn errors_show_what_is_written_and_not_what_it_stands_for() {
    let variables = [("ORIGIN", "swordfish"), ("BURST", "7")];
    let text = load(POLICY, &variables).unwrap_err().to_string();
    assert!(text.contains("`${ORIGIN}`"), "{text}");
    assert!(!text.contains("swordfish"), "{text}");
}

#[test]
fn only_what_is_declared_is_read() {
    let asked = std::cell::RefCell::new(Vec::new());
    let scratch = Scratch::with(&[("policy.yaml", POLICY)]);
    let loaded = palisade_policy::load_with(&scratch.policies(), &|name| {
        asked.borrow_mut().push(name.to_owned());
        Some(if name == "BURST" { "7" } else { "10.0.0.1:2" }.to_owned())
    });
    assert!(loaded.is_ok());
    assert_eq!(*asked.borrow(), ["ORIGIN", "BURST"]);
}

#[test]
fn a_long_value_and_many_uses_have_bounds() {
    let long = "7".repeat(4_097);
    let diagnostics = load(POLICY, &[("BURST", &long)]).unwrap_err();
    assert_eq!(diagnostics.0[0].code, "P002", "{diagnostics}");
    let mut text = "version: 1\nenvironment: [{ name: A }]\nclusters:\n".to_owned();
    let uses = "${A}".repeat(1_000);
    for number in 0..5 {
        text.push_str(&format!(
            "  - {{ name: c{number}, endpoints: [\"{uses}\"] }}\n"
        ));
    }
    let value = "7".repeat(4_096);
    let diagnostics = load(&text, &[("A", &value)]).unwrap_err();
    let first = diagnostics.0.iter().find(|fault| fault.code == "P002");
    assert!(first.is_some(), "{diagnostics}");
}

#[test]
fn an_unused_declaration_is_a_warning() {
    let text = "version: 1\nenvironment: [{ name: A, default: a }]\n";
    let loaded = load(text, &[]).unwrap();
    let warnings = loaded.warnings.to_string();
    assert!(
        warnings.contains("declared and never used [P210]"),
        "{warnings}"
    );
}

/// Not in errors, not in what is printed of a policy.
#[test]
fn secrets_of_files_are_sent_and_never_shown() {
    let text = r#"version: 1
clusters: [{ name: c, endpoints: ["127.0.0.1:1"] }]
routes:
  - name: r
    matches: [{ path: / }]
    request_headers: { set: { x-a: { file: ../secrets/upstream.token } } }
    cluster: c
"#;
    let loaded = load(text, &[]).unwrap();
    let route = loaded.policy.routes.routes().next().unwrap();
    let (_, value) = &route.request_headers.set[0];
    let palisade_policy::model::EditValue::Text(value) = value else {
        panic!("{value:?}");
    };
    assert_eq!(value.as_bytes(), b"Bearer swordfish");
    let shown = format!("{:?} {}", loaded.policy, summary(&loaded.policy));
    assert!(!shown.contains("swordfish"), "{shown}");
    let files: Vec<_> = loaded.files.iter().map(|file| &*file.path).collect();
    assert_eq!(files, ["policy.yaml", "../secrets/upstream.token"]);
    for (name, _) in SECRETS {
        let wrong = text.replace("upstream", name);
        if let Err(diagnostics) = load(&wrong, &[]) {
            let shown = format!("{diagnostics:?} {diagnostics}");
            assert!(!shown.contains("swordfish"), "{shown}");
        }
    }
}
