//! `DATABASE_URL__<SERVICE>`: where each service keeps its data.
//! Invariant: every service that can be run here has a variable, and so has the
//! event bus that is kept in SQL; without one, its file is in the data directory.
//! Refuses to show a URL: it may hold a password.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, ValueEnum, value_parser};
use core_platform::{
    config::{Faults, Secret, SecretError, secret},
    db::{Location, SettingError},
};

use crate::{Failure, services::Service};

/// The database of the event bus without NATS.
pub(crate) const EVENTS: &str = "events";

/// What the operator typed.
pub(crate) struct Flags(BTreeMap<&'static str, (Option<Secret>, Option<PathBuf>)>);

/// What the commands have that only work on databases.
#[derive(Args)]
pub(crate) struct StoreFlags {
    /// Where the databases live; created with mode 0700
    #[arg(
        long,
        env = "CORE_DATA_DIR",
        default_value = ".palisade/core",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
    #[command(flatten)]
    databases: Flags,
}

/// Where every database is.
pub(crate) struct Stores {
    data_dir: PathBuf,
    databases: Databases,
}

impl StoreFlags {
    pub(crate) fn settings(&self) -> Result<Stores, Failure> {
        Ok(Stores {
            data_dir: self.data_dir.clone(),
            databases: self.databases.settings()?,
        })
    }
}

impl Stores {
    pub(crate) fn location(&self, database: &str) -> Location {
        self.databases.location(database, &self.data_dir)
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }
}

/// Where the databases are that are not in the data directory.
#[derive(Debug, Default)]
pub(crate) struct Databases(BTreeMap<&'static str, Location>);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{variable}: {source}")]
    Location {
        variable: &'static str,
        source: SettingError,
    },
}

/// The names of one database's two flags.
struct Names {
    database: &'static str,
    flag: String,
    variable: String,
    help: String,
    file_flag: String,
    file_variable: String,
    file_help: String,
}

/// clap wants names that live as long as the process.
static NAMES: LazyLock<Vec<Names>> = LazyLock::new(|| {
    let services = Service::value_variants().iter();
    let databases = services.map(|service| service.definition().name);
    databases.chain([EVENTS]).map(Names::of).collect()
});

impl Names {
    fn of(database: &'static str) -> Self {
        let variable = format!(
            "DATABASE_URL__{}",
            database.to_uppercase().replace('-', "_")
        );
        Self {
            database,
            flag: format!("database-url-{database}"),
            help: format!(
                "Database of {database}: `postgres://role:password@host/name`, or a folder [default: the data directory]"
            ),
            file_flag: format!("database-url-{database}-file"),
            file_variable: format!("{variable}_FILE"),
            file_help: format!("A file that holds {variable}"),
            variable,
        }
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        NAMES.iter().fold(command, |command, names| {
            let url = Arg::new(names.flag.as_str())
                .long(names.flag.as_str())
                .env(names.variable.as_str())
                .hide_env_values(true)
                .help(names.help.as_str())
                .value_name("URL")
                .value_parser(value_parser!(Secret));
            let file = Arg::new(names.file_flag.as_str())
                .long(names.file_flag.as_str())
                .env(names.file_variable.as_str())
                .help(names.file_help.as_str())
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf));
            command.arg(url).arg(file)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let typed = NAMES.iter().map(|names| {
            let url = matches.get_one::<Secret>(&names.flag).cloned();
            let file = matches.get_one::<PathBuf>(&names.file_flag).cloned();
            (names.database, (url, file))
        });
        Ok(Self(typed.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Flags {
    /// # Errors
    /// All that name no database.
    pub(crate) fn settings(&self) -> Result<Databases, Faults> {
        let mut faults = Faults::default();
        let mut databases = Databases::default();
        for names in NAMES.iter() {
            let location = faults.check(self.location(names)).flatten();
            databases.0.extend(location.map(|at| (names.database, at)));
        }
        faults.settle(|| Some(databases))
    }

    fn location(&self, names: &'static Names) -> Result<Option<Location>, Error> {
        let Some((url, file)) = self.0.get(names.database) else {
            return Ok(None);
        };
        let variable = names.variable.as_str();
        let Some(setting) = secret(variable, url.as_ref(), file.as_deref())? else {
            return Ok(None);
        };
        match Location::from_setting(setting.expose()) {
            Ok(location) => Ok(Some(location)),
            Err(source) => Err(Error::Location { variable, source }),
        }
    }
}

impl Databases {
    pub(crate) fn location(&self, database: &str, data_dir: &Path) -> Location {
        let named = self.0.get(database).cloned();
        named.unwrap_or_else(|| Location::Directory(data_dir.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        flags: Flags,
    }

    fn settings(arguments: &[&str]) -> Result<Databases, Faults> {
        let typed = ["core"].iter().chain(arguments);
        Cli::try_parse_from(typed).unwrap().flags.settings()
    }

    #[test]
    fn each_service_may_have_its_own() {
        let databases = settings(&["--database-url-identity", "postgres://ida:pw@db.test/users"]);
        let databases = databases.unwrap();
        let at = |name| databases.location(name, Path::new("data")).to_string();
        assert_eq!(at("identity"), "postgres://ida@db.test:5432/users");
        assert_eq!(at(EVENTS), "data");
    }

    #[test]
    fn every_one_that_is_none_is_told_and_not_shown() {
        let bad = "mysql://u:s3cret@h/d";
        let faults = settings(&["--database-url-identity", bad, "--database-url-events", bad]);
        let faults = faults.unwrap_err();
        let told: Vec<_> = faults.iter().collect();
        assert_eq!(told.len(), 2, "{told:?}");
        for (fault, variable) in told.iter().zip(["IDENTITY: ", "EVENTS: "]) {
            assert!(
                fault.starts_with(&format!("DATABASE_URL__{variable}")),
                "{fault}"
            );
            assert!(
                fault.contains("hint: ") && !fault.contains("s3cret"),
                "{fault}"
            );
        }
    }
}
