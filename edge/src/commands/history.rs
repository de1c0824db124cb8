//! `palisade history`: the policies that were in force on a running edge, the newest first.

use std::process::ExitCode;

use serde_json::Value;

use super::admin_client::{self, AdminArgs};
use super::{EXIT_USAGE, Format, answer, answer_json, complain};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
}

/// Of a hash: enough to tell two apart.
const HASH_CHARS: usize = 12;

pub(super) fn run(args: &Args, format: Format) -> ExitCode {
    let page: Value = match admin_client::get(args.admin.admin, "/policy/history") {
        Ok(page) => page,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match format {
        Format::Json => answer_json(&page),
        Format::Text => answer(&table(&page)),
    }
    ExitCode::SUCCESS
}

fn table(page: &Value) -> String {
    let mut lines = vec![format!(
        "{:>10}  {:<20}  {:<14}  {:>6}  {:<26}  {}",
        "generation", "in force since", "by", "routes", "files", "sha256"
    )];
    let in_force = &page["status"]["generation"];
    let entries = page["history"].as_array().into_iter().flatten();
    lines.extend(entries.map(|entry| line(entry, &entry["generation"] == in_force)));
    lines.join("\n")
}

fn line(entry: &Value, is_in_force: bool) -> String {
    let text = |key: &str| entry[key].as_str().unwrap_or_default();
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    // To the second.
    let at = text("at").get(..19).unwrap_or_default();
    let hash = text("hash").get(..HASH_CHARS).unwrap_or_default();
    let files = entry["files"].as_array().map_or(0, Vec::len);
    let changes = &entry["changes"];
    let files = if changes.is_null() {
        files.to_string()
    } else {
        format!(
            "{files}: {} new, {} changed, {} gone",
            number(&changes["added"]),
            number(&changes["changed"]),
            number(&changes["removed"])
        )
    };
    let mark = if is_in_force { "  in force" } else { "" };
    format!(
        "{:>10}  {:<20}  {:<14}  {:>6}  {files:<26}  {hash}{mark}",
        number(&entry["generation"]),
        format!("{at}Z"),
        origin(&entry["origin"]),
        number(&entry["routes"]),
    )
}

/// `start`, `reload`, `rollback to 3`.
fn origin(origin: &Value) -> String {
    match origin["rollback"]["to"].as_u64() {
        Some(to) => format!("rollback to {to}"),
        None => origin.as_str().unwrap_or_default().to_owned(),
    }
}
