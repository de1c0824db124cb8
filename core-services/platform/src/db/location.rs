//! Where a service's data is kept, as a setting says it.
//! Invariant: a password in the setting is in no message and in no `Debug`.
//! Refuses schemes it does not know: `mysql://…` would become a folder of that name.

use std::{fmt, path::PathBuf, str::FromStr};

use sqlx::postgres::PgConnectOptions;

/// A folder for SQLite files, or a server.
#[derive(Clone)]
pub enum Location {
    /// `<dir>/<service>.sqlite`, made if it is missing.
    Directory(PathBuf),
    /// A database of the service's own on a server. Boxed: it is large.
    Server(Box<PgConnectOptions>),
}

/// A setting that names no database.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    #[error(
        "a database is a folder or a URL, and this is neither\nhint: such as `.palisade/core` or `postgres://role:password@host:5432/name`"
    )]
    Scheme,
    // The cause is left out where it could quote the URL, which may hold a password.
    #[error(
        "the database's URL cannot be read\nhint: such as `postgres://role:password@host:5432/name?sslmode=verify-full`; in a password write `@ : / ? # %` as `%40 %3A %2F %3F %23 %25`"
    )]
    Url,
    #[error(
        "the database's URL names no {0}\nhint: such as `postgres://role:password@host:5432/name`"
    )]
    Missing(&'static str),
}

impl Location {
    /// Reads `postgres://…` (its `sslmode` and `sslrootcert` are honoured), or the path of a folder.
    ///
    /// # Errors
    /// Another scheme, or a URL without a role or a database.
    pub fn from_setting(setting: &str) -> Result<Self, SettingError> {
        let Some((scheme, rest)) = setting.split_once("://") else {
            return if setting.trim().is_empty() {
                Err(SettingError::Scheme)
            } else {
                Ok(Self::Directory(setting.into()))
            };
        };
        if !["postgres", "postgresql"].contains(&scheme) {
            return Err(SettingError::Scheme);
        }
        // sqlx would fill these in from the process's user, whose database it is not.
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if !authority.contains('@') || authority.starts_with(['@', ':']) {
            return Err(SettingError::Missing("role"));
        }
        let options = PgConnectOptions::from_str(setting).map_err(|_| SettingError::Url)?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(SettingError::Missing("database"));
        }
        Ok(Self::Server(Box::new(options)))
    }
}

/// The folder, or role, host, port and database.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(dir) => write!(f, "{}", dir.display()),
            Self::Server(options) => {
                write!(f, "postgres://{}@", options.get_username())?;
                match options.get_socket() {
                    Some(socket) => write!(f, "{}", socket.display())?,
                    None => write!(f, "{}:{}", options.get_host(), options.get_port())?,
                }
                write!(f, "/{}", options.get_database().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_a_folder_or_a_server() {
        let check = |setting: &str, expected: Result<&str, &str>| {
            let found = Location::from_setting(setting)
                .map(|location| location.to_string())
                .map_err(|error| error.to_string());
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{setting}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                other => panic!("{setting}: {other:?}"),
            }
        };
        check("data/core", Ok("data/core"));
        check(
            "postgres://ada:notes@db.test:6000/identity?sslmode=require",
            Ok("postgres://ada@db.test:6000/identity"),
        );
        check(
            "postgresql://ada@db.test/identity",
            Ok("postgres://ada@db.test:5432/identity"),
        );
        check("", Err("neither"));
        check("mysql://ada@db.test/identity", Err("neither"));
        check("postgres://db.test/identity", Err("no role"));
        check("postgres://:notes@db.test/identity", Err("no role"));
        check("postgres://ada:notes@db.test", Err("no database"));
        check("postgres://ada:no/tes@db.test/identity", Err("no role"));
        check(
            "postgres://ada:notes@db.test:port/identity",
            Err("cannot be read"),
        );
        check(
            "postgres://ada@db.test/identity?sslmode=maybe",
            Err("cannot be read"),
        );
    }

    #[test]
    fn passwords_are_shown_nowhere() {
        let location = Location::from_setting("postgres://ada:notes@db.test/identity").unwrap();
        assert!(!format!("{location:?} {location}").contains("notes"));
        for wrong in ["notes://ada:notes@h/d", "postgres://ada:notes@h:notes/d"] {
            let error = Location::from_setting(wrong).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("notes"));
        }
    }
}
