//! `palisade-core`: the core services in one process, and what is run on their
//! files. This file is the list of commands.
//! Invariant: exit status 0 is a good end, 1 a failure while running, 2 a
//! setting that can't be used; with 2 nothing was bound or written.

mod cli;
mod crypto;
mod services;
mod databases;
mod assemble;
mod serve;
mod stop;
mod offline;
mod migrate;
mod backup;
mod ops;
mod environment;

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches, ValueEnum};
use core_platform::config::Faults;

use cli::{Cli, Command};
use services::Service;

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    crypto::install_provider();
    let typed = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&typed) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let outcome = match cli.command {
        Command::All(flags) => serve::run(Service::value_variants(), &flags),
        Command::Serve { services, flags } => serve::run(&services, &flags),
        Command::Migrate(flags) => migrate::run(&flags),
        Command::Backup(flags) => backup::backup(&flags),
        Command::Restore(flags) => backup::restore(&flags),
        Command::Ops(command) => ops::run(&command),
        Command::CheckConfig(flags) => {
            let (_, typed) = typed.subcommand().expect("parsed above");
            offline::check_config(&flags, typed)
        }
        Command::CheckPolicies(flags) => offline::check_policies(&flags),
        Command::EnvExample => environment::print(),
        Command::Descriptors(flags) => offline::descriptors(&flags),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Settings(faults)) => fail(EXIT_USAGE, faults.iter()),
        Err(Failure::Usage(error)) => fail(EXIT_USAGE, [format!("{error:#}")]),
        Err(Failure::Running(error)) => fail(EXIT_FAILED, [format!("{error:#}")]),
    }
}

/// How a command ends when it does not end well.
enum Failure {
    Settings(Faults),
    Usage(anyhow::Error),
    Running(anyhow::Error),
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Settings(faults)
    }
}

impl Failure {
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    fn running(error: impl Into<anyhow::Error>) -> Self {
        Self::Running(error.into())
    }
}

fn fail(status: u8, errors: impl IntoIterator<Item: Display>) -> ExitCode {
    for error in errors {
        // Nobody is left to tell if standard error is closed.
        let _ = writeln!(io::stderr(), "error: {error}");
    }
    ExitCode::from(status)
}
