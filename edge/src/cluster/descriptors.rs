//! What a cluster's requests are translated by, wherever it comes from.

use std::sync::Arc;

use palisade_policy::model::Cluster;
use palisade_translate::{Translator, Translators};

use super::reflection::Reflected;

/// Clones are the same.
#[derive(Clone)]
pub(super) enum Descriptors {
    File(Arc<Translator>),
    Reflected(Arc<Reflected>),
}

impl Descriptors {
    pub(super) fn of(cluster: &Cluster) -> Option<Self> {
        match (&cluster.translator, &cluster.reflection) {
            (Some(translator), _) => Some(Self::File(translator.clone())),
            (None, Some(_)) => Some(Self::Reflected(Arc::default())),
            (None, None) => None,
        }
    }

    /// None as long as nobody has told any.
    pub(super) fn translator(&self) -> Option<Arc<Translator>> {
        match self {
            Self::File(translator) => Some(translator.clone()),
            Self::Reflected(reflected) => reflected.translator(),
        }
    }

    /// For a connection, which may outlive what is known when it is made.
    pub(super) fn known(&self) -> Option<Known> {
        Some(Known {
            first: self.translator()?,
            descriptors: self.clone(),
        })
    }
}

/// Descriptors of which some are known.
#[derive(Clone)]
pub(super) struct Known {
    descriptors: Descriptors,
    first: Arc<Translator>,
}

impl Translators for Known {
    fn current(&self) -> Arc<Translator> {
        let current = self.descriptors.translator();
        current.unwrap_or_else(|| self.first.clone())
    }
}
