//! `palisade check`: whether a folder of policies is good, and everything that is wrong with it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::{EXIT_NO, Format, answer, answer_json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policies folder.
    #[arg(default_value = "policies")]
    dir: PathBuf,
}

pub(super) fn run(args: &Args, format: Format) -> ExitCode {
    match palisade_policy::load(&args.dir) {
        Ok(loaded) => {
            let summary = loaded.summary();
            match format {
                Format::Json => {
                    answer_json(&json!({ "summary": summary, "diagnostics": loaded.warnings }));
                }
                Format::Text => {
                    if !loaded.warnings.0.is_empty() {
                        let _ = writeln!(anstream::stderr(), "{}", loaded.warnings);
                    }
                    answer(&summary);
                }
            }
            ExitCode::SUCCESS
        }
        Err(diagnostics) => {
            match format {
                Format::Json => answer_json(&json!({ "diagnostics": diagnostics })),
                Format::Text => {
                    let _ = writeln!(anstream::stderr(), "{diagnostics}");
                }
            }
            ExitCode::from(EXIT_NO)
        }
    }
}
