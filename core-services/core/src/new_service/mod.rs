//! `palisade-core new-service`: a service to begin with, in a checkout of this project.
//! Invariant: everything is read and checked before the first byte is written; where a
//! place to register is not as expected, nothing is.
//! Refuses to change what exists, but for the lists that name every service.

mod name;
mod checkout;
mod register;
mod template;

use std::{fmt::Write, fs};

use anyhow::Context;

use crate::{Failure, cli::NewServiceFlags, offline::print};
use checkout::Checkout;
use name::Name;

/// A file of the checkout, by its path from the root, and what is to stand in it.
struct Planned {
    path: String,
    text: String,
}

/// What is to be done.
struct Plan {
    new: Vec<Planned>,
    changed: Vec<Planned>,
}

pub(crate) fn run(flags: &NewServiceFlags) -> Result<(), Failure> {
    let checkout = Checkout::here().map_err(Failure::usage)?;
    let plan = plan(&checkout, &flags.name).map_err(Failure::usage)?;
    for Planned { path, text } in plan.new.iter().chain(&plan.changed) {
        write(&checkout, path, text).map_err(Failure::Running)?;
    }
    print(told(&plan, &flags.name).as_bytes()).map_err(Failure::Running)
}

fn plan(checkout: &Checkout, name: &str) -> anyhow::Result<Plan> {
    let name = Name::new(name)?;
    checkout.require_free(&name)?;
    let redis = checkout.free_redis_database()?;
    Ok(Plan {
        new: template::files(&name, redis),
        changed: register::changes(checkout, &name)?,
    })
}

fn write(checkout: &Checkout, path: &str, text: &str) -> anyhow::Result<()> {
    let to = checkout.path(path);
    let written = to
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&to, text));
    written.with_context(|| format!("cannot write `{}`", to.display()))
}

fn told(plan: &Plan, name: &str) -> String {
    let mut told = String::new();
    for (what, files) in [("new", &plan.new), ("changed", &plan.changed)] {
        for file in files {
            let _ = writeln!(told, "{what:<8} {}", file.path);
        }
    }
    told + &format!(
        "\nnext:
  cargo fmt
  cargo run -p palisade-core -- env-example > core-services/.env.example
  cargo run -p palisade-core -- descriptors --out policies/descriptors/core.pb
  cargo test -p core-{name} -p core-proto
  cargo run -p palisade-edge -- test policies
  cargo run -p palisade-core -- all
"
    )
}
