//! The name of a service, and what it looks like in each language.
//! Invariant: it is a word in Rust, protobuf, SQL, URLs and host names without any change,
//! and nobody else's here.

use anyhow::{Result, bail};

/// Part of database names, event types and permissions.
const CHARS: std::ops::RangeInclusive<usize> = 2..=30;

/// Edition 2024, those for later included.
const RUST: [&str; 50] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while",
];
/// Crates and packages, databases, callers, and words the generated lines use.
const TAKEN: [&str; 21] = [
    "all", "alloc", "auth", "buf", "core", "edge", "events", "fakes", "faults", "google",
    "identity", "platform", "prost", "proto", "redact", "serve", "std", "testing", "tonic", "user",
    "yield",
];
/// What the templates are called.
const TEMPLATE: [&str; 3] = ["sample", "Sample", "SAMPLE"];

/// A name that can be used.
#[derive(Debug)]
pub(super) struct Name(String);

impl Name {
    pub(super) fn new(text: &str) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if !CHARS.contains(&text.len())
            || !text.bytes().all(plain)
            || !text.starts_with(|first: char| first.is_ascii_lowercase())
        {
            bail!(
                "`{text}` is no name of a service\nhint: {} to {} lower-case letters and digits, a letter first",
                CHARS.start(),
                CHARS.end()
            );
        }
        if RUST.contains(&text) {
            bail!("`{text}` is a word of Rust\nhint: a noun of the domain, such as `catalog`");
        }
        if TAKEN.contains(&text) {
            bail!(
                "`{text}` means something else here\nhint: a noun of the domain, such as `catalog`"
            );
        }
        Ok(Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// A template's text with this name in it.
    pub(super) fn fill(&self, template: &str) -> String {
        let (first, rest) = self.0.split_at(1);
        let pascal = first.to_ascii_uppercase() + rest;
        let [lower, mixed, upper] = TEMPLATE;
        template
            .replace(lower, &self.0)
            .replace(mixed, &pascal)
            .replace(upper, &self.0.to_ascii_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_everywhere() {
        for good in ["ai", "order", "catalog", "geo2", &"a".repeat(30)] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(31);
        for bad in [
            "",
            "a",
            &long,
            "Order",
            "2geo",
            "user-profile",
            "a_b",
            "é2",
            "../x",
            "a b",
        ] {
            let told = Name::new(bad).unwrap_err().to_string();
            assert!(told.contains("is no name of a service\nhint: "), "{told}");
        }
        for bad in ["type", "async", "gen", "core", "platform", "events", "std"] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_template_is_filled_in_each_spelling() {
        let name = Name::new("geo2").unwrap();
        let filled = name.fill("core-sample SampleService CORE_SAMPLE_MAX");
        assert_eq!(filled, "core-geo2 Geo2Service CORE_GEO2_MAX");
    }
}
