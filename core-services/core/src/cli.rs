//! The commands and their flags.
//! Invariant: every flag has an environment variable `CORE_…`; the flag wins.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, Parser, Subcommand};
use core_platform::{
    config::{self, Faults},
    policy::PolicyStore,
};

use crate::{
    assemble::Settings,
    databases,
    ops::OpsCommand,
    services::{self, Service},
};

/// The command whose own flags are shown.
pub(crate) const CHECK_CONFIG: &str = "check-config";

/// The core services behind the Palisade edge
#[derive(Parser)]
#[command(name = "palisade-core", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve all services in this process
    All(ServeFlags),
    /// Serve some of the services in this process
    Serve {
        /// Which, comma-separated
        #[arg(required = true, value_delimiter = ',', value_name = "SERVICES")]
        services: Vec<Service>,
        #[command(flatten)]
        flags: ServeFlags,
    },
    /// Bring the databases' schema to a version, then exit
    Migrate(MigrateFlags),
    /// Copy every database into a folder, while the services go on
    Backup(BackupFlags),
    /// Put the databases of a backup in place; the services must be stopped
    Restore(RestoreFlags),
    /// What operators do by hand
    #[command(subcommand)]
    Ops(OpsCommand),
    /// Check the settings, print them, bind nothing
    #[command(name = CHECK_CONFIG)]
    CheckConfig(ServeFlags),
    /// Check the services' policies, print every fault with its place
    CheckPolicies(CheckPoliciesFlags),
    /// Print every environment variable that is read, with its default
    EnvExample,
    /// Write the contracts as a protobuf FileDescriptorSet
    Descriptors(DescriptorsFlags),
}

#[derive(Args)]
pub(crate) struct ServeFlags {
    #[command(flatten)]
    pub(crate) process: config::Flags,
    #[command(flatten)]
    services: services::Flags,
    #[command(flatten)]
    databases: databases::Flags,
}

impl ServeFlags {
    /// All of them, checked; the policies are read, and nothing is made.
    pub(crate) fn settings(&self) -> Result<Settings, Faults> {
        let mut faults = Faults::default();
        let process = faults.check(self.process.settings());
        let services = faults.check(self.services.settings());
        let databases = faults.check(self.databases.settings());
        let policies = faults.check(PolicyStore::open(&self.process.policies));
        faults.settle(|| {
            Some(Settings {
                process: process?,
                services: services?,
                databases: databases?,
                policies: Arc::new(policies?),
            })
        })
    }
}

#[derive(Args)]
pub(crate) struct CheckPoliciesFlags {
    /// The folder
    #[arg(
        env = "CORE_POLICIES",
        default_value = "policies/services",
        value_name = "DIR"
    )]
    pub(crate) dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct MigrateFlags {
    /// Which, comma-separated [default: all]
    #[arg(value_delimiter = ',', value_name = "SERVICES")]
    pub(crate) services: Vec<Service>,
    /// The version to go to, also downwards; 0 removes everything [default: the newest]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) to: Option<i64>,
    /// Only print which steps were applied
    #[arg(long, conflicts_with = "to")]
    pub(crate) status: bool,
    /// Make missing roles and databases first, as this administrator of the server
    #[arg(
        long,
        env = "DATABASE_ADMIN_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) create_with: Option<config::Secret>,
    /// A file that holds DATABASE_ADMIN_URL
    #[arg(long, env = "DATABASE_ADMIN_URL_FILE", value_name = "FILE")]
    pub(crate) create_with_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) stores: databases::StoreFlags,
}

#[derive(Args)]
pub(crate) struct BackupFlags {
    /// The folder to make, or an empty one
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) stores: databases::StoreFlags,
}

#[derive(Args)]
pub(crate) struct RestoreFlags {
    /// The folder of the backup
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Also into databases that hold something: all of it goes
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) stores: databases::StoreFlags,
}

#[derive(Args)]
pub(crate) struct DescriptorsFlags {
    /// The file to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }
}
