//! Input that is broken, huge, strange or meant to hurt: an error each time, never a panic.

use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use crate::folder::Scratch;

const GOOD: &str = "version: 1\nclusters:\n  - {name: a, endpoints: [\"127.0.0.1:1\"]}\n";

/// Codes of all faults, in their order.
#[track_caller]
fn check(scratch: &Scratch, expected: &[&str]) {
    let codes: Vec<&str> = match scratch.load() {
        Ok(_) => Vec::new(),
        Err(diagnostics) => diagnostics
            .0
            .iter()
            .map(|diagnostic| diagnostic.code)
            .collect(),
    };
    assert_eq!(codes, expected);
}

#[test]
fn folders_that_are_none() {
    let scratch = Scratch::new();
    check(&scratch, &["P004"]);
    scratch.write("notes.txt", GOOD);
    scratch.write(".hidden.yaml", GOOD);
    scratch.write("tests/a.yaml~", GOOD);
    check(&scratch, &["P004"]);
    std::fs::remove_dir_all(scratch.policies()).unwrap();
    check(&scratch, &["P001"]);
    std::fs::write(scratch.policies(), GOOD).unwrap();
    check(&scratch, &["P001"]);
}

#[test]
fn files_that_are_none() {
    let scratch = Scratch::with(&[("a.yaml", GOOD)]);
    check(&scratch, &[]);
    std::fs::write(scratch.policies().join("b.yaml"), b"version: \xff1\n").unwrap();
    check(&scratch, &["P001"]);
    std::fs::remove_file(scratch.policies().join("b.yaml")).unwrap();
    symlink("nowhere", scratch.policies().join("c.yaml")).unwrap();
    check(&scratch, &["P001"]);
    std::fs::remove_file(scratch.policies().join("c.yaml")).unwrap();
    // Opening it for reading would wait for ever.
    let fifo = scratch.policies().join("d.yaml");
    let made = std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    assert!(made.success());
    check(&scratch, &["P001"]);
}

#[test]
fn what_cannot_be_read_hides_nothing_else() {
    let scratch = Scratch::with(&[("a.yaml", "version: 2\n"), ("c.yaml", "")]);
    std::fs::write(scratch.policies().join("b.yaml"), b"\xff").unwrap();
    check(&scratch, &["P015", "P001", "P014"]);
}

#[test]
fn too_much() {
    let scratch = Scratch::with(&[("a.yaml", GOOD)]);
    scratch.write("big.yaml", &format!("# {}\n", "x".repeat(1024 * 1024)));
    check(&scratch, &["P002"]);
    scratch.write(
        "big.yaml",
        &format!("version: 1\n# {}\n", "x".repeat(1024 * 1024 - 100)),
    );
    check(&scratch, &[]);
    let deep = (0..17).map(|n| format!("d{n}/")).collect::<String>();
    scratch.write(&format!("{deep}b.yaml"), "version: 1\n");
    check(&scratch, &["P002"]);
}

#[test]
fn too_many_files() {
    let scratch = Scratch::new();
    for n in 0..4_097 {
        scratch.write(&format!("f{n}.yaml"), "version: 1\n");
    }
    check(&scratch, &["P002"]);
}

#[test]
fn all_files_together_are_too_large() {
    let scratch = Scratch::new();
    let text = format!("version: 1\n# {}\n", "x".repeat(1024 * 1024 - 100));
    for n in 0..65 {
        scratch.write(&format!("f{n:02}.yaml"), &text);
    }
    check(&scratch, &["P002"]);
}

#[test]
fn links() {
    let scratch = Scratch::with(&[("a.yaml", GOOD), ("sub/b.yaml", "version: 1\n")]);
    symlink("..", scratch.policies().join("sub/loop")).unwrap();
    check(&scratch, &["P003"]);
    std::fs::remove_file(scratch.policies().join("sub/loop")).unwrap();
    symlink("a.yaml", scratch.policies().join("z.yaml")).unwrap();
    check(&scratch, &["P003"]);
    std::fs::remove_file(scratch.policies().join("z.yaml")).unwrap();
    // What a Kubernetes ConfigMap looks like.
    scratch.write("..2026_11_21/c.yaml", "version: 1\n");
    symlink("..2026_11_21", scratch.policies().join("..data")).unwrap();
    symlink("..data/c.yaml", scratch.policies().join("c.yaml")).unwrap();
    check(&scratch, &[]);
    assert_eq!(scratch.load().unwrap().files.len(), 3);
}

#[test]
fn a_key_file_is_never_shown() {
    let scratch = Scratch::new();
    let key = std::fs::read_to_string(scratch.root().join("certs/edge.key")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    for file in ["../certs/edge.key", "../certs/stranger.key"] {
        let tls = format!(
            "{{ server_name: a, ca: ../certs/ca.pem, certificate: ../certs/edge.pem, key: {file} }}"
        );
        scratch.write("a.yaml", &format!("version: 1\nclusters:\n  - {{ name: a, endpoints: [\"127.0.0.1:1\"], tls: {tls} }}\n"));
        let text = format!("{:?}", scratch.load());
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn credentials_are_not_shown() {
    let text = "version: 1\nissuers:\n  - name: id\n    jwks:\n      url: https://user:hunter2@id.example/\nroutes:\n  - name: a\n    request_headers:\n      set:\n        authorization: \" hunter2\"\n";
    let diagnostics = Scratch::with(&[("a.yaml", text)]).load().unwrap_err();
    let codes: Vec<_> = diagnostics
        .0
        .iter()
        .map(|diagnostic| diagnostic.code)
        .collect();
    assert!(
        codes.contains(&"P060") && codes.contains(&"P035"),
        "{codes:?}"
    );
    assert!(
        !diagnostics.to_string().contains("hunter2"),
        "{diagnostics}"
    );
}

#[test]
fn a_hundred_faults_are_printed_and_the_rest_counted() {
    let keys: String = (0..150).map(|n| format!("k{n}: 1\n")).collect();
    let diagnostics = Scratch::with(&[("a.yaml", &format!("version: 1\n{keys}"))])
        .load()
        .unwrap_err();
    assert_eq!(diagnostics.0.len(), 150);
    assert!(diagnostics.to_string().ends_with("\nand 50 more"));
}

#[test]
fn permissions_are_read_as_faults() {
    let scratch = Scratch::with(&[("a.yaml", GOOD)]);
    let path = scratch.policies().join("a.yaml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads everything.
    if std::fs::read(&path).is_err() {
        check(&scratch, &["P001"]);
    } else {
        check(&scratch, &[]);
    }
}

/// Words of the language in random order come further than random bytes.
fn pieces() -> impl Strategy<Value = String> {
    let words = [
        "version",
        "1",
        ":",
        ": ",
        "\n",
        "\n  ",
        "\n    - ",
        "- ",
        "clusters",
        "routes",
        "limits",
        "issuers",
        "name",
        "path",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<",
        "!!int ",
        "~",
        "a",
        "/x",
        "%2f",
        "{id}",
        "100/s",
        "30s",
        "127.0.0.1:1",
        "| ",
        "> ",
        "#",
        "---\n",
        "\u{0}",
        "\t",
        "ü",
        "matches",
        "headers",
        "tls",
        "key",
        "rate",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..60)
        .prop_map(|words| words.concat())
}

/// A good policy with one piece replaced.
fn mutated() -> impl Strategy<Value = String> {
    let case = include_str!("../cases/accepts_everything.case");
    let text = case.split("\n----\n").next().unwrap();
    (0..text.len(), 0..40_usize, pieces()).prop_map(move |(at, length, piece)| {
        let end = (at + length).min(text.len());
        format!("{}{piece}{}", &text[..at], &text[end..])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Scratch::with(&[("a.yaml", &text)]).load().map_err(|diagnostics| diagnostics.to_string());
    }

    #[test]
    fn no_mixture_panics(text in pieces()) {
        let _ = Scratch::with(&[("a.yaml", &text)]).load().map_err(|diagnostics| diagnostics.to_string());
    }

    #[test]
    fn no_mutation_panics(text in mutated()) {
        let outcome = Scratch::with(&[("a.yaml", &text)]).load();
        if let Err(diagnostics) = outcome {
            prop_assert!(!diagnostics.0.is_empty());
            let is_unprintable = diagnostics.to_string().contains(['\u{1b}', '\u{0}']);
            prop_assert!(!is_unprintable);
        }
    }
}
