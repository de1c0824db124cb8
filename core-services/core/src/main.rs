//! `palisade-core`: the core services in one process, and what is run on their
//! files. This file is the list of commands.
//! Invariant: exit status 0 is a good end, 1 a failure while running, 2 a
//! setting that can't be used; with 2 nothing was bound or written.

mod cli;
mod crypto;
mod all;
mod offline;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

use cli::{Cli, Command};

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    crypto::install_provider();
    let outcome = match Cli::parse().command {
        Command::All(flags) => all::run(&flags),
        Command::Migrate(flags) => offline::migrate(&flags),
        Command::CheckConfig(flags) => offline::check_config(&flags),
        Command::Descriptors(flags) => offline::descriptors(&flags),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => fail(EXIT_USAGE, &error),
        Err(Failure::Running(error)) => fail(EXIT_FAILED, &error),
    }
}

/// How a command ends when it does not end well.
enum Failure {
    Usage(anyhow::Error),
    Running(anyhow::Error),
}

impl Failure {
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    fn running(error: impl Into<anyhow::Error>) -> Self {
        Self::Running(error.into())
    }
}

fn fail(status: u8, error: &anyhow::Error) -> ExitCode {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(io::stderr(), "error: {error:#}");
    ExitCode::from(status)
}
