//! What a cluster's requests are translated by, wherever it comes from.

use std::sync::Arc;

use palisade_policy::model::Cluster;
use palisade_translate::Translator;

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
}
