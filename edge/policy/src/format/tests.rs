//! Formatting keeps what is said, comes to rest, and refuses what it does not understand.

use proptest::prelude::*;

use super::*;

fn formatted(text: &str) -> Result<String, String> {
    let mut report = Report::default();
    format_text(text, &mut report).ok_or_else(|| {
        let source = source("a.yaml".into(), text.to_owned());
        report.finish(&[source]).to_string()
    })
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let once = formatted(text).unwrap();
    assert_eq!(once, expected);
    assert_eq!(formatted(&once).unwrap(), once, "it does not rest");
}

#[test]
fn spaces_and_quotes() {
    check(
        "version:   1\nlimits:\n- {name: 'l',   rate: 1/s}   \n\n\n\n-  name: m",
        "version: 1\nlimits:\n  - { name: \"l\", rate: 1/s }\n\n  - name: m\n",
    );
}

#[test]
fn comments_stay() {
    check(
        "# above\nversion: 1 # beside\n\n# between\nroutes:\n# of the first\n- name: a # its name\n# last\n",
        "# above\nversion: 1 # beside\n\n# between\nroutes:\n  # of the first\n  - name: a # its name\n# last\n",
    );
}

#[test]
fn anchors_stay() {
    check(
        "a:   &common {x:  1}\nb: *common\n",
        "a: &common { x: 1 }\nb: *common\n",
    );
}

#[test]
fn block_scalars_stay() {
    check(
        "a: |\n    one\n      two\n\n    three\nb: >-\n   folded\n   text\n",
        "a: |\n  one\n    two\n\n  three\nb: >-\n  folded\n  text\n",
    );
}

#[test]
fn long_lines_are_broken_where_they_can_be() {
    let long = "\"127.0.0.1:1234\", ".repeat(10);
    let text = format!("endpoints: [{}]\n", long.trim_end_matches(", "));
    let lines = "  \"127.0.0.1:1234\",\n".repeat(10);
    check(&text, &format!("endpoints: [\n{lines}]\n"));
    let word = "x".repeat(300);
    check(&format!("a:   {word}\n"), &format!("a: {word}\n"));
}

#[test]
fn line_breaks_of_other_systems() {
    check("a:   1\r\nb: 2\r\n", "a: 1\nb: 2\n");
}

#[test]
fn nothing_and_comments_only() {
    check("", "");
    check("# nothing yet\n", "# nothing yet\n");
}

#[test]
fn what_is_at_fault_is_left_alone() {
    for (text, code) in [
        ("a: [", "P010"),
        ("a:\n\tb: 1\n", "P010"),
        ("a: !tag b\n", "P016"),
        ("a: 1\na: 2\n", "P011"),
        ("a: 1\n---\nb: 1\n", "P016"),
    ] {
        let fault = formatted(text).unwrap_err();
        assert!(fault.contains(code), "{text}: {fault}");
    }
}

/// The case and the code for what the two parsers do not agree on.
#[test]
fn what_would_change_is_refused() {
    let mut report = Report::default();
    assert_eq!(
        cannot("formatting would change what it says", &mut report),
        None
    );
    let text = report
        .finish(&[source("a.yaml".into(), String::new())])
        .to_string();
    assert_eq!(
        text,
        "a.yaml: left as it is: formatting would change what it says [P113]\n  hint: write it in a simpler form, or format it by hand"
    );
    let content = |text| Content::of(text, &mut Report::default()).unwrap();
    for (a, b) in [
        ("a: 1", "a: \"1\""),
        ("a: [1]", "a: [1, 2]"),
        ("a: 1", "b: 1"),
        ("a: 1", ""),
        ("a: 1 # x", "a: 1"),
        ("a: 1", "- 1"),
    ] {
        assert!(!content(a).is_as(&content(b)), "{a} {b}");
    }
}

/// Pieces of YAML that are put together by chance.
const PIECES: &[&str] = &[
    "a",
    ":",
    " ",
    "\n",
    "  ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "#",
    "# c\n",
    "&x ",
    "*x",
    "|",
    ">",
    "1",
    "x: 1\n",
    "y:\n  - z\n",
    "\r\n",
    "\t",
    "?",
    "!",
    "%",
    "@",
    "~",
    "\u{e9}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// No text panics, and what comes out says what went in and comes to rest.
    #[test]
    fn any_text(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        let text = pieces.concat();
        if let Ok(once) = formatted(&text) {
            let before = Content::of(&text, &mut Report::default()).unwrap();
            let after = Content::of(&once, &mut Report::default()).unwrap();
            prop_assert!(after.is_as(&before), "{text:?} became {once:?}");
            prop_assert_eq!(formatted(&once), Ok(once.clone()));
        }
    }
}
