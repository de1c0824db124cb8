//! `palisade openapi` on the shipped policies: the document of the core services, as a person reads
//! it, and what a validator makes of it and of the Echo service's.
//!
//! `UPDATE_CASES=1` writes what comes of the policies into the files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::aioquic::python;
use crate::harness::BINARY;
use crate::harness::files::Files;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the edge is in a workspace")
}

/// The shipped policies, with certificates where they look for them.
fn shipped() -> Files {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("a folder") {
            let path = entry.expect("an entry").path();
            let to = to.join(path.file_name().expect("a name"));
            if path.is_dir() {
                copy(&path, &to);
            } else {
                std::fs::copy(&path, &to).expect("a copy");
            }
        }
    }
    let files = Files::new();
    copy(&workspace().join("policies"), &files.policies());
    let beside = files.root().join("dev");
    copy(&files.certs(), &beside);
    std::fs::rename(&beside, files.certs().join("dev")).expect("a folder");
    files
}

fn openapi(files: &Files, arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .arg("openapi")
        .arg(files.policies())
        .args(arguments)
        .output()
        .expect("the edge binary starts")
}

fn golden(version: &str) -> PathBuf {
    let name = format!("edge/tests/it/openapi/golden/core-{version}.json");
    workspace().join(name)
}

#[test]
fn the_documents_of_the_shipped_policies_are_as_written() {
    let files = shipped();
    for version in ["3.0", "3.1"] {
        let output = openapi(&files, &["--version", version]);
        assert!(output.status.success(), "{output:?}");
        let path = golden(version);
        if std::env::var_os("UPDATE_CASES").is_some() {
            std::fs::write(&path, &output.stdout).expect("the folder can be written");
        }
        let written = std::fs::read(&path).unwrap_or_default();
        assert!(
            written == output.stdout,
            "{} is another document now\nhint: UPDATE_CASES=1 cargo test -p palisade-edge --test it openapi::documents",
            path.display()
        );
    }
}

#[test]
fn a_file_instead_of_standard_output() {
    let files = shipped();
    let path = files.root().join("openapi.json");
    let output = openapi(
        &files,
        &[
            "--out",
            path.to_str().expect("UTF-8"),
            "--host",
            "localhost",
        ],
    );
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    let written = std::fs::read(&path).expect("it is there");
    assert_eq!(written, std::fs::read(golden("3.1")).expect("it is there"));
}

#[test]
fn a_folder_that_translates_nothing_is_told() {
    let files = Files::with_policies(&[("policy.yaml", "version: 1\n")]);
    let output = openapi(&files, &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("no route translates anything for `localhost`"),
        "{told}"
    );
}

#[test]
fn a_validator_accepts_the_documents() {
    let echo = workspace().join("edge/openapi/tests/golden");
    let echo = ["3.0", "3.1"].map(|version| echo.join(format!("echo-{version}.json")));
    for path in ["3.0", "3.1"].map(golden).into_iter().chain(echo) {
        let output = Command::new(python())
            .args(["-m", "openapi_spec_validator"])
            .arg(&path)
            .output()
            .expect("python starts");
        let told = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && told.contains("OK"),
            "{}: {told}{errors}\nhint: `make setup-tests`, or set PALISADE_TEST_PYTHON",
            path.display()
        );
    }
}
