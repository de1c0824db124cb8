//! Smaller answers, compiled.

pub use palisade_translate::Coding;

/// Which answers are compressed toward clients (RFC 9110, 8.4), and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// What is liked best first; never empty, each once.
    pub codings: Vec<Coding>,
    /// Shorter ones go as they are, where their length is known.
    pub min_bytes: u64,
    /// In lower case.
    pub media_types: Vec<MediaTypes>,
}

/// One media type, or several alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaTypes {
    /// `text/html`
    One(Box<str>),
    /// `text/*`, with its slash.
    Type(Box<str>),
    /// `*+json`, with its plus (RFC 6839).
    Suffix(Box<str>),
}

impl MediaTypes {
    /// `essence` is a media type without parameters; its letters may be of either case.
    #[must_use]
    pub fn hold(&self, essence: &str) -> bool {
        let begins = |with: &str| {
            essence
                .get(..with.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(with))
        };
        let ends = |with: &str| {
            essence
                .len()
                .checked_sub(with.len())
                .and_then(|at| essence.get(at..))
                .is_some_and(|tail| tail.eq_ignore_ascii_case(with))
        };
        match self {
            Self::One(name) => essence.eq_ignore_ascii_case(name),
            Self::Type(name) => begins(name),
            Self::Suffix(name) => ends(name),
        }
    }
}

impl std::fmt::Display for MediaTypes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(name) => f.write_str(name),
            Self::Type(name) => write!(f, "{name}*"),
            Self::Suffix(name) => write!(f, "*{name}"),
        }
    }
}
