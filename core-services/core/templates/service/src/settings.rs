//! What the operator says about this service: as typed (`Flags`), as used (`Settings`).
//! Invariant: a `Settings` was checked whole before the service starts.
//! Refuses rules of the business: those are policy.

use core_platform::config::Faults;

/// More than anybody looks through.
const ITEMS_MAX: i64 = 1_000_000;

/// What the operator typed. Each flag has an environment variable; the flag wins.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Flags {
    /// How many items a user of sample may have
    #[arg(
        long,
        env = "CORE_SAMPLE_ITEMS_MAX",
        default_value = "1000",
        value_name = "NUMBER"
    )]
    sample_items_max: String,
}

/// What the service uses.
pub struct Settings {
    pub items_max: i64,
}

/// A value that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(
        "--sample-items-max: `{0}` is not usable\nhint: a number from 1 to {ITEMS_MAX}, such as 1000"
    )]
    ItemsMax(String),
}

impl Flags {
    /// # Errors
    /// Every flag whose value can't be used.
    pub fn settings(&self) -> Result<Settings, Faults> {
        let mut faults = Faults::default();
        let items_max = faults.check(self.items_max());
        faults.settle(|| {
            Some(Settings {
                items_max: items_max?,
            })
        })
    }

    fn items_max(&self) -> Result<i64, SettingsError> {
        let number = self.sample_items_max.parse().ok();
        let usable = number.filter(|number| (1..=ITEMS_MAX).contains(number));
        usable.ok_or_else(|| SettingsError::ItemsMax(self.sample_items_max.clone()))
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

    #[test]
    fn values_are_checked() {
        let check = |typed: &str, expected: Option<i64>| {
            let typed = format!("--sample-items-max={typed}");
            let flags = Cli::try_parse_from(["core", &typed]).unwrap().flags;
            let settings = flags.settings();
            assert_eq!(settings.ok().map(|settings| settings.items_max), expected);
        };
        check("1", Some(1));
        check("1000000", Some(ITEMS_MAX));
        for wrong in ["0", "-1", "1000001", "many", ""] {
            check(wrong, None);
        }
    }
}
