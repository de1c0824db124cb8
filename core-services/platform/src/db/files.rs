//! The directory and file of a database, and who may look into them.
//! Invariant: the directory is 0700 and the file 0600 before the first byte is
//! written; SQLite gives its log and shared-memory files the file's mode.
//! Refuses to tighten a directory that someone else opened up: it may not be ours.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--data-dir: cannot use `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "--data-dir: `{0}` is open to other users (mode {mode:04o})\nhint: chmod 700 {0}",
        path.display()
    )]
    Open { path: PathBuf, mode: u32 },
}

/// Looks whether `dir` may be used, and makes nothing: one that is missing may.
///
/// # Errors
/// Something that is no directory, or one that others may look into.
pub fn check(dir: &Path) -> Result<(), Error> {
    let found = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(at(dir))?,
    };
    if !found.is_dir() {
        return Err(at(dir)(io::ErrorKind::NotADirectory.into()));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Open {
            path: dir.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// The file of database `name`.
pub(super) fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.sqlite"))
}

/// The path of database `name`, created empty if it is missing.
pub(super) fn prepare(dir: &Path, name: &str) -> Result<PathBuf, Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(at(dir))?;
    check(dir)?;
    let file = path(dir, name);
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&file)
        .map_err(at(&file))?
        // A copy that was restored with a wider mode.
        .set_permissions(fs::Permissions::from_mode(0o600))
        .map_err(at(&file))?;
    Ok(file)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}
