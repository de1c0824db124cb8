//! The services of this binary: their names, their flags, how each is started.
//! Invariant: a service is known here and nowhere else in the binary.

use anyhow::Result;
use clap::{Args, ValueEnum};
use core_platform::{
    config::Faults,
    service::{Context, Definition, Parts},
};

/// A service that can be run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    /// Accounts, credentials, sessions and tokens
    Identity,
}

/// What the operator typed for the services, chosen or not.
#[derive(Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    identity: core_identity::Flags,
}

/// What the services use.
pub(crate) struct Settings {
    identity: core_identity::Settings,
}

impl Flags {
    /// # Errors
    /// Every flag whose value can't be used.
    pub(crate) fn settings(&self) -> Result<Settings, Faults> {
        let mut faults = Faults::default();
        let identity = faults.check(self.identity.settings());
        faults.settle(|| {
            Some(Settings {
                identity: identity?,
            })
        })
    }
}

impl Service {
    pub(crate) fn definition(self) -> &'static Definition {
        match self {
            Self::Identity => &core_identity::DEFINITION,
        }
    }

    pub(crate) async fn start(self, settings: &Settings, context: Context) -> Result<Parts> {
        Ok(match self {
            Self::Identity => core_identity::start(&settings.identity, context).await?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_called_as_they_are_started() {
        for service in Service::value_variants() {
            let typed = service.to_possible_value().unwrap();
            assert_eq!(typed.get_name(), service.definition().name);
        }
    }
}
