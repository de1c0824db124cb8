//! Passwords that are known from breaches, from a file of one on each line.
//! Invariant: the file is read once, at the start, whole or not at all.
//! Refuses to be a dictionary: a password is on the list or it is not; rules about
//! digits and signs only make people write `Password1!`, which is on it.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

/// A few hundred thousand lines; the whole of a breach belongs into a service of its own.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--breached-passwords: cannot read `{}`: {source}\nhint: name a text file with one password on each line", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("--breached-passwords: `{}` is larger than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
}

/// The list. No `Debug`: it is long.
#[derive(Clone, Default)]
pub struct Breached(std::sync::Arc<HashSet<String>>);

impl Breached {
    /// # Errors
    /// A file that can't be read, or one too large for memory.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable {
            path: path.to_owned(),
            source,
        };
        if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
            return Err(Error::TooLarge(path.to_owned()));
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        Ok(Self::of(&text))
    }

    fn of(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("# "));
        Self(std::sync::Arc::new(lines.map(str::to_lowercase).collect()))
    }

    /// Whatever the case: `PASSWORD1` is no better than `password1`.
    pub(crate) fn has(&self, password: &str) -> bool {
        self.0.contains(&password.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_list_knows_what_everybody_tries() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../policies/services/breached-passwords.txt");
        let breached = Breached::load(&path).unwrap();
        for known in ["password", "12345678", "Qwertyuiop", "iloveyou"] {
            assert!(breached.has(known), "{known}");
        }
        assert!(!breached.has("notes-on-the-engine"));
        assert!(!breached.has(""));
        // What is shorter than the input rules admit would only take room.
        assert!(breached.0.iter().all(|password| password.len() >= 8));
    }

    #[test]
    fn remarks_are_no_passwords() {
        let breached = Breached::of("# A list\n\n  letmein1 \n#hashtag\n");
        assert!(breached.has("letmein1") && breached.has("#hashtag"));
        assert_eq!(breached.0.len(), 2);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Breached::load(Path::new("/nonexistent.txt")).err().unwrap();
        assert!(error.to_string().contains("`/nonexistent.txt`"), "{error}");
    }
}
