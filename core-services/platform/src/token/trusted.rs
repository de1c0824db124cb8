//! Keys that tokens are checked by: held by this process, or followed at a file or URL.
//! Invariant: every check is the edge's own (`palisade-token`), so a token means
//! the same on both sides of the mesh.
//! Refuses to give up keys because their source is away: the last good set stays.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use palisade_token::{
    Claims, FixedKeysError, Issuer, IssuerSpec, Issuers, Refusal, SpecError, UnixTime, Verifier,
};

use crate::clock::UnixMicros;

/// Verified tokens that are remembered, at 1 KiB or more each.
const REMEMBERED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Clones share keys and memory.
#[derive(Clone)]
pub(crate) struct Trusted {
    verifier: Arc<Verifier>,
    issuer: Arc<ArcSwap<Issuer>>,
    /// Its tasks read the keys again as long as it lives.
    _followed: Option<Arc<Issuers>>,
}

impl Trusted {
    /// By a JWK set that changes only by [`Self::replace`].
    pub(crate) fn fixed(spec: IssuerSpec, document: &[u8]) -> Result<Self, FixedKeysError> {
        let issuer = Issuer::with_fixed_keys(spec, document)?;
        Ok(Self::of(issuer, None))
    }

    /// By the keys at the specification's source, read again while this lives.
    /// `state_dir` keeps what a URL said last, for a start while it is away.
    pub(crate) async fn followed(
        spec: IssuerSpec,
        state_dir: Option<PathBuf>,
    ) -> Result<Self, SpecError> {
        let name = spec.name.clone();
        let issuers = Issuers::new(state_dir);
        issuers.reconcile(std::slice::from_ref(&spec)).await?;
        let issuer = issuers.get(&name).ok_or(SpecError {
            issuer: name,
            fault: "it is not followed".to_owned(),
        })?;
        Ok(Self::of(issuer, Some(Arc::new(issuers))))
    }

    fn of(issuer: Arc<Issuer>, followed: Option<Arc<Issuers>>) -> Self {
        Self {
            verifier: Arc::new(Verifier::new(REMEMBERED_BYTES_MAX)),
            issuer: Arc::new(ArcSwap::new(issuer)),
            _followed: followed,
        }
    }

    /// Checks by another fixed set from now on, in all clones.
    pub(crate) fn replace(&self, document: &[u8]) -> Result<(), FixedKeysError> {
        let spec = self.issuer.load().spec().clone();
        self.issuer.store(Issuer::with_fixed_keys(spec, document)?);
        Ok(())
    }

    pub(crate) fn verify(&self, token: &str, now: UnixMicros) -> Result<Arc<Claims>, Refusal> {
        // Before 1970 every `nbf` lies in the future: nobody gets in.
        let now = UnixTime::from_secs(u64::try_from(now.seconds()).unwrap_or(0));
        self.verifier.verify(&self.issuer.load(), token, now)
    }

    /// As [`Self::verify`]; a key that is not known yet is asked for once.
    pub(crate) async fn admit(&self, token: &str, now: UnixMicros) -> Result<Arc<Claims>, Refusal> {
        let first = self.verify(token, now);
        match &first {
            Err(refusal) if refusal.wants_refetch() => {
                let issuer = self.issuer.load_full();
                if issuer.refetch().await {
                    self.verify(token, now)
                } else {
                    first
                }
            }
            _ => first,
        }
    }
}
