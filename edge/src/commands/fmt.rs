//! `palisade fmt`: policy files in one style; or, with `--check`, whether they are.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use palisade_policy::format::{self, Formatted};
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use super::{EXIT_NO, EXIT_USAGE, Format, answer, answer_json};

/// Lines that a difference shows around what changes.
const CONTEXT_LINES: usize = 3;
const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Policy files, and folders of them.
    #[arg(default_value = "policies")]
    paths: Vec<PathBuf>,
    /// Change nothing: show what would be changed, with exit code 1 where there is something.
    #[arg(long)]
    check: bool,
}

/// What became of the files.
#[derive(Default)]
struct Outcome {
    files: usize,
    /// Path and difference.
    changed: Vec<(PathBuf, String)>,
    faults: Vec<String>,
}

pub(super) fn run(args: &Args, format: Format) -> ExitCode {
    let mut outcome = Outcome::default();
    for path in &args.paths {
        if !path.exists() {
            let _ = writeln!(
                anstream::stderr(),
                "palisade: cannot find `{}`",
                path.display()
            );
            return ExitCode::from(EXIT_USAGE);
        }
        match format::format(path) {
            Ok(files) => {
                for file in files {
                    outcome.add(file, args.check);
                }
            }
            Err(diagnostics) => outcome.faults.push(diagnostics.to_string()),
        }
    }
    match format {
        Format::Json => answer_json(&outcome.as_json()),
        Format::Text => outcome.tell(args.check),
    }
    if outcome.faults.is_empty() && (outcome.changed.is_empty() || !args.check) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NO)
    }
}

impl Outcome {
    fn add(&mut self, file: Formatted, is_check: bool) {
        self.files += 1;
        let (before, after) = match file.texts {
            Ok(texts) => texts,
            Err(diagnostics) => return self.faults.push(diagnostics.to_string()),
        };
        if before == after {
            return;
        }
        if !is_check && let Err(error) = replace(&file.path, &after) {
            return self.faults.push(format!("{error:#}"));
        }
        self.changed.push((file.path, difference(&before, &after)));
    }

    fn as_json(&self) -> Value {
        let changed = self.changed.iter();
        let changed: Vec<_> = changed
            .map(|(path, difference)| {
                let difference = anstream::adapter::strip_str(difference).to_string();
                json!({ "path": path, "difference": difference })
            })
            .collect();
        json!({ "files": self.files, "changed": changed, "faults": self.faults })
    }

    fn tell(&self, is_check: bool) {
        for fault in &self.faults {
            let _ = writeln!(anstream::stderr(), "{fault}");
        }
        for (path, difference) in &self.changed {
            if is_check {
                answer(&format!("would change {}\n{difference}", path.display()));
            } else {
                answer(&format!("changed {}", path.display()));
            }
        }
        let Self { files, changed, .. } = self;
        let noun = if *files == 1 { "file" } else { "files" };
        answer(&format!("{files} {noun}, {} changed", changed.len()));
    }
}

fn difference(before: &str, after: &str) -> String {
    let mut text = String::new();
    let diff = TextDiff::from_lines(before, after);
    for hunk in diff
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .iter_hunks()
    {
        let _ = writeln!(text, "{}", hunk.header());
        for change in hunk.iter_changes() {
            let (sign, style) = match change.tag() {
                ChangeTag::Equal => (' ', Style::new()),
                ChangeTag::Delete => ('-', REMOVED),
                ChangeTag::Insert => ('+', ADDED),
            };
            let line = change.value().trim_end_matches(['\r', '\n']);
            let _ = writeln!(text, "{style}{sign}{line}{style:#}");
        }
    }
    text
}

/// At once, so that an edge that follows the folder never reads half of it; what a link points to,
/// with the permissions it had.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("cannot write `{}`", path.display());
    let path = fs::canonicalize(path).with_context(context)?;
    let mode = fs::metadata(&path).with_context(context)?.permissions();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Names with a dot are no policies.
    let temporary = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let written = write(&temporary, text, &mode).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(context)
}

fn write(path: &Path, text: &str, permissions: &fs::Permissions) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(permissions.mode())
        .open(path)?;
    file.write_all(text.as_bytes())?;
    // The process may have a mask that takes some of the bits away.
    file.set_permissions(permissions.clone())?;
    file.sync_all()
}
