//! `palisade rollback`: a policy of the history in force again, until the files change.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::admin_client::{self, AdminArgs};
use super::{EXIT_NO, Format, answer, answer_json, complain};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// One that `palisade history` lists; without it, the one before the one in force.
    generation: Option<u64>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(args: &Args, format: Format) -> ExitCode {
    let wish = json!({ "generation": args.generation });
    let page: Value = match admin_client::post(args.admin.admin, "/policy/rollback", &wish) {
        Ok(page) => page,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EXIT_NO);
        }
    };
    match format {
        Format::Json => answer_json(&page),
        Format::Text => answer(&told(&page["status"])),
    }
    ExitCode::SUCCESS
}

fn told(status: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let to = number(&status["origin"]["rollback"]["to"]);
    let generation = number(&status["generation"]);
    let mut text = format!("generation {to} is in force again, as generation {generation}");
    if status["hash"] != status["disk_hash"] {
        text += "\nthe policies folder still holds other files: the next change of any of them puts the folder in force\n\
                 hint: take the change back in the folder, too";
    }
    text
}
