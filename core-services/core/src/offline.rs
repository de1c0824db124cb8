//! The commands that serve nothing.
//! Invariant: what they print goes to standard output, what went wrong to
//! standard error, so both can be piped.

use std::{
    fs,
    future::Future,
    io::{self, Write},
};

use anyhow::Context;
use clap::{Arg, ArgMatches, CommandFactory};
use core_platform::policy::PolicyStore;
use serde_json::{Map, Value};

use crate::{
    Failure,
    cli::{CHECK_CONFIG, CheckPoliciesFlags, Cli, DescriptorsFlags, ServeFlags},
};

/// `palisade-core check-config`: the settings as they would be used, by flag. Of a
/// secret it is only said whether there is one.
pub(crate) fn check_config(flags: &ServeFlags, typed: &ArgMatches) -> Result<(), Failure> {
    flags.settings()?;
    let command = Cli::command();
    let known = command.find_subcommand(CHECK_CONFIG);
    let arguments = known.into_iter().flat_map(clap::Command::get_arguments);
    let settings: Map<String, Value> = arguments
        .filter(|argument| argument.get_env().is_some())
        .filter_map(|argument| Some((argument.get_id().to_string(), shown(argument, typed)?)))
        .collect();
    print(format!("{:#}\n", Value::Object(settings)).as_bytes()).map_err(Failure::Running)
}

fn shown(argument: &Arg, typed: &ArgMatches) -> Option<Value> {
    let values = typed.get_raw(argument.get_id().as_str())?;
    if argument.is_hide_env_values_set() {
        return Some("(set)".into());
    }
    let mut texts: Vec<Value> = values.map(|value| value.to_string_lossy().into()).collect();
    let is_list = argument.get_value_delimiter().is_some();
    if is_list || texts.len() != 1 {
        return Some(texts.into());
    }
    texts.pop()
}

/// `palisade-core check-policies`
pub(crate) fn check_policies(flags: &CheckPoliciesFlags) -> Result<(), Failure> {
    PolicyStore::open(&flags.dir).map_err(Failure::usage)?;
    print(format!("{}: good\n", flags.dir.display()).as_bytes()).map_err(Failure::Running)
}

/// `palisade-core descriptors`
pub(crate) fn descriptors(flags: &DescriptorsFlags) -> Result<(), Failure> {
    let Some(path) = &flags.out else {
        return print(core_proto::DESCRIPTOR_SET).map_err(Failure::Running);
    };
    fs::write(path, core_proto::DESCRIPTOR_SET)
        .with_context(|| format!("cannot write `{}`", path.display()))
        .map_err(Failure::Running)
}

/// Runs a command that waits for a database.
pub(crate) fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::running)?;
    runtime.block_on(work).map_err(Failure::Running)
}

pub(crate) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}
