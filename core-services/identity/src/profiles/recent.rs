//! Profiles that were read a moment ago, here and (sealed) in Redis.
//! Invariant: what is shown has at least the version that the database has by now, so no
//! answer is older than a change, whichever replica made that and whether or not Redis was
//! told. Hence whatever changes what a profile shows counts its version on.
//! Refuses to judge who may see it.

use std::{future::Future, time::Duration};

use core_platform::cache::{Cache, Sharing, Space};
use uuid::Uuid;

use super::Profile;
use crate::error::Error;

const PROFILE: Space = Space {
    prefix: "user:profile",
    // How long personal data may lie about once nobody asks for it; what is shown never
    // hangs on it.
    ttl: Duration::from_secs(30),
    // That there is none is never remembered.
    absent_ttl: Duration::ZERO,
    sharing: Sharing::Sealed,
};

#[derive(Clone)]
pub(crate) struct Recent(Cache);

impl Recent {
    pub(crate) fn new(cache: Cache) -> Self {
        Self(cache)
    }

    /// The profile in its version `least` or a newer one, by `read` if nobody has it.
    /// Nothing if what there was is older or another build's, or could not be read.
    pub(super) async fn get<F>(
        &self,
        user: Uuid,
        least: i64,
        read: impl Fn() -> F,
    ) -> Option<Profile>
    where
        F: Future<Output = Result<Profile, Error>>,
    {
        let load = || {
            let read = read();
            async {
                let profile = read.await?;
                Ok::<_, Error>(Some(serde_json::to_vec(&profile)?.into()))
            }
        };
        let id = user.to_string();
        // Boxed: what reads through a cache is a large future.
        let found = Box::pin(self.0.get(&PROFILE, &id, load)).await;
        let found = found.ok().flatten()?;
        let profile: Option<Profile> = serde_json::from_slice(&found).ok();
        let profile = profile.filter(|profile| profile.version >= least);
        if profile.is_none() {
            self.forget(user).await;
        }
        profile
    }

    /// After the commit of a change, so that nobody has to find out by the version.
    pub(crate) async fn forget(&self, user: Uuid) {
        self.0.delete(&PROFILE, &user.to_string()).await;
    }
}
