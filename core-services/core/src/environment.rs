//! `palisade-core env-example`: every variable that is read, made from the flags.
//! Invariant: what is written down is what is read; a test compares the file.

use clap::{Arg, Command, CommandFactory};

use crate::{
    Failure,
    cli::{CHECK_CONFIG, Cli},
    offline,
};

const HEAD: &str = "\
# Every variable that palisade-core reads, with its default; a flag wins over it.
# Written by `palisade-core env-example`.
";

pub(crate) fn print() -> Result<(), Failure> {
    offline::print(text().as_bytes()).map_err(Failure::Running)
}

fn text() -> String {
    let command = Cli::command();
    let known = command.find_subcommand(CHECK_CONFIG);
    let arguments = known.into_iter().flat_map(Command::get_arguments);
    arguments
        .filter_map(entry)
        .fold(HEAD.to_owned(), |text, entry| text + "\n" + &entry)
}

/// None for a flag without a variable.
fn entry(argument: &Arg) -> Option<String> {
    let variable = argument.get_env()?.to_string_lossy();
    let help = argument.get_help()?;
    let defaults: Vec<_> = argument
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    Some(format!("# {help}\n#{variable}={}\n", defaults.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_names_every_variable() {
        let written = include_str!("../../.env.example");
        assert_eq!(
            written,
            text(),
            "\nhint: palisade-core env-example > core-services/.env.example"
        );
    }

    #[test]
    fn every_flag_has_a_variable_and_no_secret_has_a_default() {
        let command = Cli::command();
        let settings = command.find_subcommand(CHECK_CONFIG).unwrap();
        let flags = settings
            .get_arguments()
            .filter(|flag| flag.get_id() != "help");
        for flag in flags {
            assert!(flag.get_env().is_some(), "{flag}");
            let is_secret = flag.is_hide_env_values_set();
            assert!(!is_secret || flag.get_default_values().is_empty(), "{flag}");
            let file = format!("{}_FILE", flag.get_env().unwrap().to_string_lossy());
            let mut variables = settings.get_arguments().filter_map(Arg::get_env);
            assert!(
                !is_secret || variables.any(|name| *name == *file),
                "{flag} has no {file}"
            );
        }
    }
}
