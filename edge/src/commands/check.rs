//! `palisade check`: whether a folder of policies is good, and everything that is wrong with it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use palisade_policy::rules::{self, Rule};
use palisade_policy::{Diagnostics, Loaded};
use serde_json::json;

use super::{EXIT_NO, EXIT_USAGE, Format, answer, answer_json, complain};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policies folder.
    #[arg(default_value = "policies")]
    dir: PathBuf,
    /// Lints are faults, too.
    #[arg(long)]
    deny_warnings: bool,
    /// Say what a rule means and how to mend what it reports.
    #[arg(long, value_name = "ID", conflicts_with_all = ["dir", "deny_warnings"])]
    explain_rule: Option<String>,
}

pub(super) fn run(args: &Args, format: Format) -> ExitCode {
    if let Some(id) = &args.explain_rule {
        return explain_rule(id, format);
    }
    let outcome = palisade_policy::load(&args.dir);
    let is_good = match &outcome {
        Ok(loaded) => loaded.warnings.0.is_empty() || !args.deny_warnings,
        Err(_) => false,
    };
    match format {
        Format::Json => report_json(&outcome, is_good),
        Format::Text => report(&outcome),
    }
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NO)
    }
}

fn report(outcome: &Result<Loaded, Diagnostics>) {
    let (Ok(Loaded {
        warnings: found, ..
    })
    | Err(found)) = outcome;
    if !found.0.is_empty() {
        let _ = writeln!(anstream::stderr(), "{}", found.colored());
    }
    if let Ok(loaded) = outcome {
        answer(&loaded.summary());
        for cluster in unread(loaded) {
            answer(&format!(
                "what routes to cluster `{cluster}` translate is not checked: its endpoints tell, once they run"
            ));
        }
    }
}

/// Clusters whose descriptors nobody has yet.
fn unread(loaded: &Loaded) -> impl Iterator<Item = &str> {
    let clusters = loaded.policy.clusters.iter();
    let reflected = clusters.filter(|cluster| cluster.reflection.is_some());
    reflected.map(|cluster| &*cluster.name)
}

fn report_json(outcome: &Result<Loaded, Diagnostics>, is_good: bool) {
    let (Ok(Loaded {
        warnings: found, ..
    })
    | Err(found)) = outcome;
    let loaded = outcome.as_ref().ok();
    let summary = loaded.map(Loaded::summary);
    let unread: Vec<_> = loaded.into_iter().flat_map(unread).collect();
    answer_json(&json!({
        "ok": is_good,
        "summary": summary,
        "diagnostics": found,
        "clusters_not_checked": unread,
    }));
}

fn explain_rule(id: &str, format: Format) -> ExitCode {
    let Some(Rule { id, title, text }) = rules::rule(id) else {
        complain(&anyhow::anyhow!(
            "no rule has the id `{id}`; they are {}",
            rules::rules()
                .map(|rule| rule.id)
                .collect::<Vec<_>>()
                .join(" ")
        ));
        return ExitCode::from(EXIT_USAGE);
    };
    match format {
        Format::Json => answer_json(&json!({ "id": id, "title": title, "text": text })),
        Format::Text => answer(&format!("{id} {title}\n\n{text}")),
    }
    ExitCode::SUCCESS
}
