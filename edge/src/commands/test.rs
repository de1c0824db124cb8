//! `palisade test`: the tests of a folder of policies, and which rules none of them reaches.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};

use super::{EXIT_NO, EXIT_USAGE, Format, answer, answer_json, complain};
use crate::explain::cases::{self, Covered, Report};
use crate::request_ctx::Now;
use crate::snapshot::Snapshot;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policies folder.
    #[arg(default_value = "policies")]
    dir: PathBuf,
    /// Only tests whose name contains this.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    filter: String,
    /// List every rule with the number of tests that reach it.
    #[arg(long)]
    coverage: bool,
    /// Fail where fewer rules than this are reached, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100), default_value_t = 0, hide_default_value = true)]
    min_coverage: u8,
}

pub(super) fn run(args: &Args, format: Format) -> ExitCode {
    let loaded = match palisade_policy::load(&args.dir) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            let _ = writeln!(anstream::stderr(), "{diagnostics}");
            return ExitCode::from(EXIT_NO);
        }
    };
    let snapshot = match Snapshot::offline(Arc::new(loaded.policy), None, Now::monotonic()) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let report = cases::run(&snapshot, &args.filter);
    match format {
        Format::Json => answer_json(&report),
        Format::Text => answer(&text(&report, args)),
    }
    let (reached, all) = reached(&report);
    if report.failed.is_empty() && reached * 100 >= all * usize::from(args.min_coverage) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NO)
    }
}

fn reached(report: &Report) -> (usize, usize) {
    let all = report.coverage.len();
    (all - report.untested().count(), all)
}

fn text(report: &Report, args: &Args) -> String {
    let mut text: String = report
        .failed
        .iter()
        .map(|failure| format!("{failure}\n"))
        .collect();
    let rules = report.coverage.iter();
    // What no test reaches is worth a line; the rest for who asks.
    for covered in rules.filter(|covered| args.coverage || covered.cases == 0) {
        let tests = match covered.cases {
            0 => "no test".to_owned(),
            1 => "1 test".to_owned(),
            several => format!("{several} tests"),
        };
        let Covered {
            route, at, rule, ..
        } = covered;
        text.push_str(&format!("{at}: {tests} for {rule} of route {route}\n"));
    }
    let (reached, all) = reached(report);
    let failed = report.failed.len();
    let style = if failed == 0 { GOOD } else { BAD };
    let verdict = format!("{style}{} passed, {failed} failed{style:#}", report.passed);
    format!("{text}{verdict}; {reached} of {all} rules reached")
}
