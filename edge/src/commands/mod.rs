//! The command line: one file for each command, and what all of them have in common.
//!
//! Answers go to standard output, complaints to standard error; `--format json` gives the same
//! facts to programs. Exit codes: 0 yes, 1 no (a fault, a failed test, a difference), 2 wrong usage.

mod admin_client;
mod certs;
mod check;
mod diff;
mod explain;
mod fmt;
mod history;
mod openapi;
mod rollback;
mod schema;
mod serve;
mod shell;
mod test;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::config::RunArgs;

/// The answer is no: a fault was found, a test failed, there is a difference.
pub(crate) const EXIT_NO: u8 = 1;
/// Wrong flags, files or addresses; as clap uses it for flags.
pub(crate) const EXIT_USAGE: u8 = 2;

const AFTER_HELP: &str =
    "Exit codes: 0 yes, 1 no (a fault, a failed test, a difference), 2 wrong usage.";

/// An edge gateway: HTTP/1.1, HTTP/2 and HTTP/3 in front of your services, ruled by files.
#[derive(Debug, Parser)]
#[command(name = "palisade", version, about, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve traffic.
    Run(Box<RunArgs>),
    /// Check a policies folder: exit code 0, or 1 with every error.
    Check(check::Args),
    /// Say what makes two policies different, and which recorded requests it touches.
    Diff(diff::Args),
    /// Explain what would become of a request, and why.
    Explain(Box<explain::Args>),
    /// Run the tests of a policies folder: exit code 0, or 1 where one fails.
    Test(test::Args),
    /// List the policies that were in force on a running edge.
    History(history::Args),
    /// Put a policy of the history in force again, until the files change.
    Rollback(rollback::Args),
    /// Make a development CA and certificates, or keep those that are still good.
    Certs(certs::Args),
    /// Write policy files in one style.
    Fmt(fmt::Args),
    /// Write a description of what a host takes, for its callers.
    Openapi(openapi::Args),
    /// Print the JSON Schema of policy files, for editors.
    Schema(schema::Args),
    /// Print a completion script for a shell.
    Completions(shell::CompletionsArgs),
    /// Write manual pages.
    Man(shell::ManArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub struct OutputArgs {
    /// Text for people, or JSON for programs.
    #[arg(long, global = true, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
    /// Colours: where standard output is a terminal, always, or never.
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    pub color: Color,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// Read the command line and do what it says.
pub fn run() -> ExitCode {
    let Cli { output, command } = Cli::parse();
    let choice = match output.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
    let format = output.format;
    match command {
        Command::Run(args) => serve::run(*args),
        Command::Check(args) => check::run(&args, format),
        Command::Diff(args) => diff::run(&args, format),
        Command::Explain(args) => explain::run(&args, format),
        Command::Test(args) => test::run(&args, format),
        Command::History(args) => history::run(&args, format),
        Command::Rollback(args) => rollback::run(&args, format),
        Command::Certs(args) => certs::run(&args, format),
        Command::Fmt(args) => fmt::run(&args, format),
        Command::Openapi(args) => openapi::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    }
}

pub(crate) fn complain(error: &anyhow::Error) {
    // Nothing can be done when standard error is gone as well.
    let _ = writeln!(anstream::stderr(), "palisade: {error:#}");
}

/// An answer on standard output. A reader that has seen enough (`| head`) is no fault.
pub(crate) fn answer(text: &str) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// An answer for programs.
pub(crate) fn answer_json(value: &impl Serialize) {
    let mut out = io::stdout().lock();
    if serde_json::to_writer_pretty(&mut out, value).is_ok() {
        let _ = writeln!(out);
    }
}
