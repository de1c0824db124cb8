//! `palisade-core ops grant-role`: how the first administrator comes to be.

use std::sync::Arc;

use anyhow::anyhow;
use core_platform::{clock, policy::PolicyStore};

use super::{flags::GrantRoleFlags, open};
use crate::{
    Failure,
    databases::Stores,
    offline::{block_on, print},
    services::Service,
};

pub(super) fn grant(flags: &GrantRoleFlags) -> Result<(), Failure> {
    let stores = flags.stores.settings()?;
    let policies = PolicyStore::open(&flags.policies).map_err(Failure::usage)?;
    if !policies.current().roles.knows(&flags.role) {
        return Err(Failure::usage(anyhow!(
            "there is no role `{}`\nhint: `{}` holds all there are",
            flags.role,
            flags.policies.join("rbac.yaml").display()
        )));
    }
    block_on(granted(flags, &stores, Arc::new(policies)))
}

async fn granted(
    flags: &GrantRoleFlags,
    stores: &Stores,
    policies: Arc<PolicyStore>,
) -> anyhow::Result<()> {
    let db = open(Service::Identity, stores).await?;
    let now = clock::now();
    let vault = flags.keyring.vault(&db, stores, now).await?;
    let who = (flags.email.as_str(), flags.role.as_str());
    let granting = core_identity::grant_role((db.clone(), vault), policies, who, now);
    let granted = Box::pin(granting).await;
    db.close().await;
    granted?;
    print(format!("granted: {}\n", flags.role).as_bytes())
}
