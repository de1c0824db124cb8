//! `palisade completions` and `palisade man`: what shells and `man` know of the command line.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, EXIT_USAGE, complain};

#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// For which shell.
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The folder for the pages, such as `/usr/local/share/man/man1`; it is made where it is missing.
    dir: PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs) -> ExitCode {
    clap_complete::generate(
        args.shell,
        &mut Cli::command(),
        "palisade",
        &mut io::stdout(),
    );
    ExitCode::SUCCESS
}

pub(super) fn man(args: &ManArgs) -> ExitCode {
    let written = fs::create_dir_all(&args.dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.dir))
        .with_context(|| format!("cannot write to `{}`", args.dir.display()));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(EXIT_USAGE)
        }
    }
}
