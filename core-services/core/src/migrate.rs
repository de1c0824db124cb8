//! `palisade-core migrate`: schemas up and down, and the databases they are in.
//! Invariant: what is there is changed only as asked; `--status` makes nothing.

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use core_platform::{
    config::secret,
    db::{Created, Db, Location, Owner, create},
    telemetry,
};

use crate::{
    Failure,
    cli::MigrateFlags,
    databases::{EVENTS, Stores},
    offline::{block_on, print},
    services::Service,
};

pub(crate) fn run(flags: &MigrateFlags) -> Result<(), Failure> {
    let stores = flags.stores.settings()?;
    let chosen = match &flags.services[..] {
        [] => Service::value_variants(),
        named => named,
    };
    if flags.to.is_some() && chosen.len() != 1 {
        let hint = "name the service whose version it is";
        return Err(Failure::usage(anyhow!(
            "--to: there are {} services\nhint: {hint}",
            chosen.len()
        )));
    }
    let administrator = administrator(flags)?;
    telemetry::to_stderr().map_err(Failure::running)?;
    block_on(async {
        if let Some(administrator) = &administrator {
            let names = chosen.iter().map(|service| service.definition().name);
            for name in names.chain([EVENTS]) {
                made(name, create(administrator, &stores.location(name)).await?)?;
            }
        }
        for service in chosen {
            if flags.status {
                status(*service, &stores).await?;
            } else {
                migrate(*service, &stores, flags.to).await?;
            }
        }
        Ok(())
    })
}

fn administrator(flags: &MigrateFlags) -> Result<Option<Location>, Failure> {
    let (url, file) = (&flags.create_with, &flags.create_with_file);
    let url = secret("DATABASE_ADMIN_URL", url.as_ref(), file.as_deref());
    let Some(url) = url.map_err(Failure::usage)? else {
        return Ok(None);
    };
    match Location::from_setting(url.expose()) {
        Ok(location) => Ok(Some(location)),
        Err(error) => Err(Failure::usage(anyhow!("--create-with: {error}"))),
    }
}

fn made(name: &str, created: Created) -> anyhow::Result<()> {
    let what = match (created.role, created.database) {
        (true, true) => "role and database",
        (true, false) => "role",
        (false, true) => "database",
        (false, false) => return Ok(()),
    };
    print(format!("{name}: made {what}\n").as_bytes())
}

async fn migrate(service: Service, stores: &Stores, to: Option<i64>) -> anyhow::Result<()> {
    let known = service.definition();
    let db = Db::open(&stores.location(known.name), known.name).await?;
    let version = db.migrate(known.migrations, to).await;
    db.close().await;
    let version = version.context(known.name)?;
    print(format!("{}: schema version {version}\n", known.name).as_bytes())
}

async fn status(service: Service, stores: &Stores) -> anyhow::Result<()> {
    let known = service.definition();
    let location = stores.location(known.name);
    if location.is_empty(known.name).await? {
        return print(format!("{}: empty\n", known.name).as_bytes());
    }
    let db = Db::open(&location, known.name).await?;
    let steps = db.status(known.migrations).await;
    db.close().await;
    for step in steps? {
        let owner = match step.owner {
            Owner::Platform => "platform",
            Owner::Service => "service",
        };
        let state = if step.is_applied {
            "applied"
        } else {
            "pending"
        };
        let line = format!(
            "{}: {owner} {} {}: {state}\n",
            known.name, step.version, step.name
        );
        print(line.as_bytes())?;
    }
    Ok(())
}
