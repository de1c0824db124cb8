//! Programs that `make setup-tests` installs: Node and its packages beside Python's, Chromium.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use tokio::process::Command;

use super::script;
use crate::aioquic::python;
use crate::calls::World;

/// For all cases of one client on a loaded machine; each has its own end.
const PATIENCE: Duration = Duration::from_secs(240);

/// A program beside the Python of the tests.
pub(super) fn tool(name: &str) -> PathBuf {
    python().with_file_name(name)
}

/// The packages from npm.
fn packages() -> PathBuf {
    let python = python();
    let mut state = python.ancestors().skip(3);
    let state = state.next().expect("below the state folder");
    state.join("npm/node_modules")
}

/// What the program wrote, if it ended well.
pub(super) async fn finished(
    what: &str,
    running: impl Future<Output = io::Result<Output>>,
) -> Vec<u8> {
    let output = tokio::time::timeout(PATIENCE, running)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
        .unwrap_or_else(|error| panic!("no {what}: {error}; run `make setup-tests`"));
    let errors = String::from_utf8_lossy(&output.stderr);
    // Of bundled scripts it begins with a line of hundreds of kilobytes.
    let errors = errors.lines().filter(|line| line.len() < 1_000);
    let errors: Vec<&str> = errors.collect();
    assert!(
        output.status.success(),
        "{what} failed: {}",
        errors.join("\n")
    );
    output.stdout
}

/// A JSON list of names, each with why it failed.
#[track_caller]
pub(super) fn assert_all_passed(output: &[u8], least: usize) {
    let results: Vec<(String, String)> = serde_json::from_slice(output)
        .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(output)));
    assert_passed(&results, least);
}

#[track_caller]
pub(super) fn assert_passed(results: &[(String, String)], least: usize) {
    let failed = results.iter().filter(|(_, why)| !why.is_empty());
    let failed: Vec<String> = failed
        .map(|(name, why)| format!("{name}\n  {why}"))
        .collect();
    let (bad, all) = (failed.len(), results.len());
    assert!(failed.is_empty(), "{bad} of {all}:\n{}", failed.join("\n"));
    assert!(all >= least, "only {all} cases ran");
}

/// A script with all that it imports, below the folder of the world.
pub(super) async fn bundle(world: &World, name: &str, options: &[&str]) -> PathBuf {
    bundle_in(world.edge.files.root(), name, options).await
}

/// The same for a folder with the descriptors in it.
pub(super) async fn bundle_in(folder: &Path, name: &str, options: &[&str]) -> PathBuf {
    let to = folder.join(format!("{name}.js"));
    let packages = packages();
    let running = Command::new(tool("node"))
        .arg(packages.join("esbuild/bin/esbuild"))
        .arg(script(name))
        .args([
            "--bundle",
            "--minify",
            "--format=esm",
            "--loader:.pb=base64",
        ])
        .arg(format!(
            "--alias:echo.pb={}",
            folder.join("echo.pb").display()
        ))
        .arg(format!("--outfile={}", to.display()))
        .args(options)
        .env("NODE_PATH", &packages)
        .kill_on_drop(true)
        .output();
    finished("esbuild", running).await;
    to
}
