//! `palisade-core ops rotate-signing-key`: calmly, or because one leaked.

use core_identity::NewSigningKey;
use core_platform::clock;

use super::{flags::RotateFlags, open, rows::at};
use crate::{
    Failure,
    offline::{block_on, print},
    services::Service,
};

pub(super) fn rotate(flags: &RotateFlags) -> Result<(), Failure> {
    let stores = flags.stores.settings()?;
    block_on(async {
        let db = open(Service::Identity, &stores).await?;
        let now = clock::now();
        let vault = flags.keyring.vault(&db, &stores, now).await?;
        let rotating =
            core_identity::rotate_signing_key((db.clone(), vault), flags.compromised, now);
        let rotated = rotating.await;
        db.close().await;
        let NewSigningKey { kid, signs_from } = rotated?;
        let signs_from = at(signs_from);
        let signs_from = signs_from.as_str().unwrap_or_default();
        print(format!("{kid} signs from {signs_from}\n").as_bytes())
    })
}
