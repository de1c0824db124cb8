//! `palisade certs`: a development CA and what it signs.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::{Format, answer, answer_json, complain};
use crate::dev_certs;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where they go: `ca.pem`, `localhost.pem`, `mesh/edge.pem`, `mesh/core.pem` and their keys.
    dir: PathBuf,
}

pub(super) fn run(args: &Args, format: Format) -> ExitCode {
    let dir = args.dir.display();
    match dev_certs::ensure(&args.dir) {
        Ok(written) if format == Format::Json => answer_json(&json!({ "made": written })),
        Ok(written) if written.is_empty() => {
            answer(&format!("certificates in `{dir}` are still good"));
        }
        Ok(written) => answer(&format!("made in `{dir}`: {}", written.join(", "))),
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
