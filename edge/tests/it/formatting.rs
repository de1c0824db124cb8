//! `palisade fmt` and `palisade schema`, as people and scripts call them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::BINARY;

const WRITTEN: &str = "version:   1\nlimits:\n- {name: few,   key: caller, rate: 1/s} # few\n";
const FORMATTED: &str = "version: 1\nlimits:\n  - { name: few, key: caller, rate: 1/s } # few\n";

fn palisade(dir: &Path, args: &[&str]) -> Output {
    let output = Command::new(BINARY).args(args).current_dir(dir).output();
    output.expect("the edge binary starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn files_are_written_anew_and_stay_as_they_are() {
    let dir = tempfile::tempdir().expect("a folder");
    let policies = dir.path().join("policies");
    fs::create_dir_all(policies.join("routes")).expect("a folder");
    let (one, target) = (
        policies.join("routes/one.yaml"),
        dir.path().join("target.txt"),
    );
    fs::write(&one, WRITTEN).expect("a file");
    fs::set_permissions(&one, fs::Permissions::from_mode(0o640)).expect("a mode");
    fs::write(&target, WRITTEN.replace("few", "link")).expect("a file");
    symlink(&target, policies.join("link.yaml")).expect("a link");
    fs::write(policies.join("good.yaml"), "version: 1\n").expect("a file");

    let checked = palisade(dir.path(), &["fmt", "--check"]);
    assert_eq!(checked.status.code(), Some(1));
    let text = stdout(&checked);
    assert!(
        text.contains("would change policies/routes/one.yaml"),
        "{text}"
    );
    assert!(text.contains("-version:   1\n+version: 1\n"), "{text}");
    assert_eq!(fs::read_to_string(&one).expect("a file"), WRITTEN);

    let written = palisade(dir.path(), &["fmt"]);
    assert_eq!(written.status.code(), Some(0), "{written:?}");
    assert!(
        stdout(&written).ends_with("3 files, 2 changed\n"),
        "{written:?}"
    );
    assert_eq!(fs::read_to_string(&one).expect("a file"), FORMATTED);
    let mode = fs::metadata(&one).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let link = fs::symlink_metadata(policies.join("link.yaml")).expect("a link");
    assert!(link.is_symlink());
    let through = fs::read_to_string(&target).expect("a file");
    assert_eq!(through, FORMATTED.replace("few", "link"));
    let names = fs::read_dir(policies.join("routes")).expect("a folder");
    assert_eq!(names.count(), 1, "a temporary file is left");

    let again = palisade(
        dir.path(),
        &["--format", "json", "fmt", "--check", "policies"],
    );
    assert_eq!(again.status.code(), Some(0));
    let facts: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!(facts["files"], 3);
    assert_eq!(facts["changed"], Value::Array(Vec::new()));
}

#[test]
fn what_is_at_fault_is_told_and_hides_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("a.yaml"), "a: [\n").expect("a file");
    fs::write(dir.path().join("b.yaml"), WRITTEN).expect("a file");
    let output = palisade(dir.path(), &["fmt", "."]);
    assert_eq!(output.status.code(), Some(1));
    let faults = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        faults.contains("a.yaml:") && faults.contains("not YAML") && faults.contains("[P010]"),
        "{faults}"
    );
    let left = fs::read_to_string(dir.path().join("a.yaml")).expect("a file");
    assert_eq!(left, "a: [\n");
    let written = fs::read_to_string(dir.path().join("b.yaml")).expect("a file");
    assert_eq!(written, FORMATTED);
    let nowhere = palisade(dir.path(), &["fmt", "nowhere"]);
    assert_eq!(nowhere.status.code(), Some(2));
}

#[test]
fn the_schema_is_the_one_that_is_shipped() {
    let printed = palisade(Path::new("."), &["schema"]);
    assert_eq!(printed.status.code(), Some(0));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/palisade.schema.json");
    assert_eq!(
        stdout(&printed),
        fs::read_to_string(shipped).expect("a file")
    );
}
