//! Secrets among the settings: in a variable, or in a file that `…_FILE` names.
//! Invariant: a secret has one source, and no text made of a setting holds one.
//! Refuses both sources at once: which of the two is in force would be a guess.

use std::{
    convert::Infallible,
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

/// A URL with a password, or a token; a file with more is not one of ours.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{variable} and {variable}_FILE are both set\nhint: keep one of them")]
    Twice { variable: &'static str },
    #[error("{variable}_FILE: cannot read `{}`: {source}\nhint: the file holds the value and nothing else", path.display())]
    Unreadable {
        variable: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{variable}_FILE: `{}` {what}\nhint: the file holds the value and nothing else", path.display())]
    NotAValue {
        variable: &'static str,
        path: PathBuf,
        what: &'static str,
    },
    #[error("{variable}: is empty\nhint: leave it out to do without")]
    Empty { variable: &'static str },
}

impl Secret {
    /// The value, to be handed to what needs it and to nothing that writes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The value of a setting that may be given as itself or as the name of a file.
///
/// # Errors
/// Both, an empty value, or a file that can't be read or holds something else.
pub fn secret(
    variable: &'static str,
    given: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<Secret>, Error> {
    let secret = match (given, file) {
        (Some(_), Some(_)) => return Err(Error::Twice { variable }),
        (None, None) => return Ok(None),
        (Some(given), None) => given.clone(),
        (None, Some(path)) => read(variable, path)?,
    };
    if secret.0.is_empty() {
        return Err(Error::Empty { variable });
    }
    Ok(Some(secret))
}

fn read(variable: &'static str, path: &Path) -> Result<Secret, Error> {
    let unreadable = |source| Error::Unreadable {
        variable,
        path: path.to_owned(),
        source,
    };
    let wrong = |what| Error::NotAValue {
        variable,
        path: path.to_owned(),
        what,
    };
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(wrong("is larger than 16 KiB"));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    // The cause would name what was found.
    let text = String::from_utf8(bytes).map_err(|_| wrong("is not text"))?;
    // Editors and `echo` end a file with a line break.
    match text.trim() {
        "" => Err(wrong("is empty")),
        value => Ok(Secret(value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Secret {
        let Ok(secret) = text.parse();
        secret
    }

    #[test]
    fn a_secret_has_one_source() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, " s3cret\n").unwrap();
        let read = |value: Option<&str>, file: Option<&Path>| {
            secret("CORE_TOKEN", value.map(given).as_ref(), file)
        };
        assert_eq!(read(None, None).unwrap(), None);
        assert_eq!(read(Some("a"), None).unwrap().unwrap().expose(), "a");
        assert_eq!(read(None, Some(&file)).unwrap().unwrap().expose(), "s3cret");
        let both = read(Some("a"), Some(&file)).unwrap_err().to_string();
        assert!(
            both.starts_with("CORE_TOKEN and CORE_TOKEN_FILE are both set"),
            "{both}"
        );
        let empty = read(Some(""), None).unwrap_err().to_string();
        assert!(empty.starts_with("CORE_TOKEN: is empty"), "{empty}");
    }

    #[test]
    fn a_bad_file_is_named_and_its_content_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for (content, part) in [
            (b"s3cret\xff".to_vec(), "is not text"),
            (b" \n".to_vec(), "is empty"),
            (vec![b's'; 20_000], "is larger than"),
        ] {
            let file = dir.path().join("token");
            fs::write(&file, content).unwrap();
            let error = secret("CORE_TOKEN", None, Some(&file)).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(part) && text.contains("CORE_TOKEN"), "{text}");
            assert!(!text.contains("s3cret") && !text.contains("sss"), "{text}");
        }
        let missing = secret("CORE_TOKEN", None, Some(&dir.path().join("none")));
        let text = missing.unwrap_err().to_string();
        assert!(text.contains("CORE_TOKEN_FILE: cannot read"), "{text}");
    }

    #[test]
    fn debug_says_nothing() {
        assert_eq!(format!("{:?}", given("s3cret")), "Secret(..)");
    }
}
