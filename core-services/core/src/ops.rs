//! `palisade-core ops`: what operators do by hand, on the databases themselves.
//! Invariant: each deed is in the audit log as an operator's; running services see it at
//! once, as they would another replica's.

use std::sync::Arc;

use anyhow::anyhow;
use core_platform::{
    clock,
    crypto::{KeyRing, Vault},
    db::Db,
    policy::PolicyStore,
};

use crate::{
    Failure,
    cli::GrantRoleFlags,
    databases::Stores,
    offline::{block_on, print},
    services::Service,
};

/// `palisade-core ops grant-role`
pub(crate) fn grant_role(flags: &GrantRoleFlags) -> Result<(), Failure> {
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
    let name = Service::Identity.definition().name;
    let location = stores.location(name);
    if location.is_empty(name).await? {
        return Err(anyhow!(
            "there are no accounts in `{location}`\nhint: the same --data-dir or DATABASE_URL__IDENTITY as the service's"
        ));
    }
    let db = Db::open(&location, name).await?;
    let ring = KeyRing::open(flags.keyring.as_deref(), stores.data_dir())?;
    let now = clock::now();
    let vault = Vault::start(&db, ring, now).await?;
    let who = (flags.email.as_str(), flags.role.as_str());
    let granting = core_identity::grant_role((db.clone(), vault), policies, who, now);
    let granted = Box::pin(granting).await;
    db.close().await;
    granted?;
    print(format!("granted: {}\n", flags.role).as_bytes())
}
