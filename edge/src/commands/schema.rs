//! `palisade schema`: the language as a JSON Schema, for editors.

use std::process::ExitCode;

use super::answer_json;

#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_: &Args) -> ExitCode {
    answer_json(&palisade_policy::schema());
    ExitCode::SUCCESS
}
