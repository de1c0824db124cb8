//! `palisade diff`: what makes two policies different, and which recorded requests it touches.

mod text;

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use flate2::bufread::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use palisade_policy::Loaded;
use palisade_policy::describe::describe;
use palisade_policy::diff::{Change, changes};
use serde_json::json;

use super::{EXIT_NO, EXIT_USAGE, Format, answer, answer_json, complain};
use crate::replay::{Comparison, Report, Side, replay};
use crate::request_ctx::Now;

/// The first bytes of a gzip file (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What is read from a log at once.
const READ_BYTES: usize = 256 * 1024;

/// Exit code 1 where there is a difference; with `--replay`, where there is a request that it touches.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policies folder as it was.
    old: PathBuf,
    /// The policies folder as it is to be.
    new: PathBuf,
    /// An access log, plain or gzip, or `-` for standard input: which of its requests would be decided otherwise.
    #[arg(long, value_name = "LOG")]
    replay: Option<PathBuf>,
}

pub(super) fn run(args: &Args, format: Format) -> ExitCode {
    let outcome = compare(args, format).unwrap_or_else(|error| {
        complain(&error);
        None
    });
    let Some((changes, report)) = outcome else {
        return ExitCode::from(EXIT_USAGE);
    };
    match format {
        Format::Json => answer_json(&json!({ "changes": changes, "replay": report })),
        Format::Text => answer(&text::text(&changes, report.as_ref())),
    }
    let is_same = match &report {
        Some(report) => report.otherwise == 0,
        None => changes.is_empty(),
    };
    if is_same {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NO)
    }
}

/// None where a folder is at fault and that has been said.
fn compare(args: &Args, format: Format) -> anyhow::Result<Option<(Vec<Change>, Option<Report>)>> {
    let (old, new) = (load(&args.old), load(&args.new));
    let (Some(old), Some(new)) = (old, new) else {
        return Ok(None);
    };
    let changes = changes(
        &describe(&old.policy, &args.old),
        &describe(&new.policy, &args.new),
    );
    let Some(log) = &args.replay else {
        return Ok(Some((changes, None)));
    };
    let now = Now::monotonic();
    let side = |loaded: Loaded, folder: &Path| {
        let side = Side::new(loaded.policy, folder, now);
        side.with_context(|| format!("`{}` cannot be asked", folder.display()))
    };
    let comparison = Comparison::new(side(old, &args.old)?, side(new, &args.new)?);
    let report = read(log, format, |log| replay(&comparison, log))
        .with_context(|| format!("cannot read `{}`", log.display()))?;
    if report.lines > 0 && report.judged + report.unlike == 0 {
        let log = log.display();
        anyhow::bail!(
            "no line of `{log}` is one of a request\nhint: it is what `palisade run` writes to standard output"
        );
    }
    Ok(Some((changes, Some(report))))
}

fn load(folder: &Path) -> Option<Loaded> {
    match palisade_policy::load(folder) {
        Ok(loaded) => Some(loaded),
        Err(diagnostics) => {
            let folder = folder.display();
            let _ = writeln!(
                anstream::stderr(),
                "`{folder}` cannot be compared:\n{diagnostics}"
            );
            None
        }
    }
}

/// The log unpacked, with a bar that shows how much of the file was read.
fn read<T>(
    log: &Path,
    format: Format,
    use_it: impl FnOnce(Box<dyn Read>) -> io::Result<T>,
) -> io::Result<T> {
    if log == Path::new("-") {
        return use_it(unpacked(io::stdin().lock())?);
    }
    let file = File::open(log)?;
    let bytes = file.metadata()?.len();
    let bar = if format == Format::Text && io::stderr().is_terminal() {
        ProgressBar::new(bytes).with_style(style())
    } else {
        ProgressBar::hidden()
    };
    let outcome = use_it(unpacked(bar.wrap_read(file))?);
    bar.finish_and_clear();
    outcome
}

fn unpacked(log: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut log = BufReader::with_capacity(READ_BYTES, log);
    if log.fill_buf()?.starts_with(&GZIP) {
        // Logs that are rotated may be members one after the other.
        return Ok(Box::new(MultiGzDecoder::new(log)));
    }
    Ok(Box::new(log))
}

fn style() -> ProgressStyle {
    let style = "{bar:40} {percent:>3} %  {bytes} of {total_bytes}  {bytes_per_sec}  {eta}";
    // The template is ours and has no fault.
    ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar())
}
