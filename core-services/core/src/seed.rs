//! `palisade-core seed`: people to develop with.
//! Invariant: the services' own rules make them, and running it again changes nothing.
//! Refuses databases with accounts of others, unless told twice.

use std::{fmt::Write, sync::Arc};

use anyhow::anyhow;
use core_identity::{SEED_PASSWORD, Seeded};
use core_platform::{clock, crypto::Vault, db::Db, policy::PolicyStore};

use crate::{
    Failure,
    cli::SeedFlags,
    databases::Stores,
    offline::{block_on, print},
    services::Service,
};

pub(crate) fn run(flags: &SeedFlags) -> Result<(), Failure> {
    let stores = flags.stores.settings()?;
    let policies = PolicyStore::open(&flags.policies).map_err(Failure::usage)?;
    let current = policies.current();
    if let Some(role) = core_identity::seed_roles().find(|role| !current.roles.knows(role)) {
        return Err(Failure::usage(anyhow!(
            "there is no role `{role}` to give\nhint: `{}` holds all there are",
            flags.policies.join("rbac.yaml").display()
        )));
    }
    block_on(seed(flags, &stores, Arc::new(policies)))
}

async fn seed(
    flags: &SeedFlags,
    stores: &Stores,
    policies: Arc<PolicyStore>,
) -> anyhow::Result<()> {
    let known = Service::Identity.definition();
    let db = Db::open(&stores.location(known.name), known.name).await?;
    db.migrate(known.migrations, None).await?;
    let now = clock::now();
    let ring = (flags.keyring.as_deref(), stores.data_dir());
    let vault = Vault::open(&db, ring, now).await?;
    let seeding = core_identity::seed((db.clone(), vault), policies, flags.force, now);
    let seeded = Box::pin(seeding).await;
    db.close().await;
    print(told(&seeded?).as_bytes())
}

fn told(seeded: &[Seeded]) -> String {
    let mut told = String::new();
    for Seeded {
        email,
        role,
        changed,
    } in seeded
    {
        let what = if *changed { "new" } else { "kept" };
        let _ = writeln!(told, "{what:<4} {email:<24} {role}");
    }
    told + &format!("password of all: {SEED_PASSWORD}\n")
}
