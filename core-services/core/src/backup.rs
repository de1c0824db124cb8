//! `palisade-core backup` and `restore`: every database, and a manifest of them.
//! Invariant: a folder with a manifest is whole, as it is written last; nothing is
//! restored before all of it was checked.
//! Leaves the key ring out: who has a backup must not be able to open what is sealed in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use aws_lc_rs::digest;
use clap::ValueEnum;
use core_platform::{
    clock::{self, UnixMicros},
    db::{Db, Dialect, Location, Migration, Owner},
};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    Failure,
    cli::{BackupFlags, RestoreFlags},
    databases::{EVENTS, Stores},
    offline::{block_on, print},
    services::Service,
};

const MANIFEST: &str = "manifest.json";
/// Raised when an older program could misread a newer backup.
const FORMAT: u32 = 1;
/// A few lines for each database; more is another file.
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;
/// Read at a time for a check sum.
const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    created_at: String,
    version: String,
    databases: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    dialect: String,
    file: String,
    bytes: u64,
    sha256: String,
    /// The newest applied step of the platform and of the service.
    schema: [i64; 2],
}

/// A database that is copied.
struct Store {
    name: &'static str,
    migrations: &'static [Migration],
    /// Without it the services would not come up again.
    is_needed: bool,
}

fn all() -> impl Iterator<Item = Store> {
    let services = Service::value_variants().iter().map(|service| Store {
        name: service.definition().name,
        migrations: service.definition().migrations,
        is_needed: true,
    });
    // Without NATS; the bus brings its tables up to date itself.
    services.chain([Store {
        name: EVENTS,
        migrations: &[],
        is_needed: false,
    }])
}

/// `palisade-core backup`
pub(crate) fn backup(flags: &BackupFlags) -> Result<(), Failure> {
    let stores = flags.stores.settings()?;
    let now = clock::now();
    block_on(async {
        let dir = &flags.dir;
        DirBuilder::new().mode(0o700).recursive(true).create(dir)?;
        let is_empty = fs::read_dir(dir)?.next().is_none();
        ensure!(
            is_empty,
            "`{}` is not empty\nhint: each backup has a folder of its own",
            dir.display()
        );
        let mut databases = Vec::new();
        for store in all() {
            if let Some(entry) = copy(&store, &stores, dir).await.context(store.name)? {
                print(format!("{}: {} bytes\n", entry.name, entry.bytes).as_bytes())?;
                databases.push(entry);
            }
        }
        let manifest = Manifest {
            format: FORMAT,
            created_at: rfc3339(now)?,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            databases,
        };
        write(dir, &manifest).context(MANIFEST)?;
        print(b"the key ring is not in it: keep it apart\n")
    })
}

/// `palisade-core restore`
pub(crate) fn restore(flags: &RestoreFlags) -> Result<(), Failure> {
    let stores = flags.stores.settings()?;
    block_on(async {
        let manifest = read(&flags.dir)?;
        for entry in &manifest.databases {
            check(entry, &flags.dir, &stores).with_context(|| entry.name.clone())?;
            let location = stores.location(&entry.name);
            if !flags.replace && !location.is_empty(&entry.name).await? {
                return Err(core_platform::db::Error::NotEmpty(location).into());
            }
        }
        for entry in &manifest.databases {
            let file = flags.dir.join(&entry.file);
            let location = stores.location(&entry.name);
            let loaded = location.load(&entry.name, &file, flags.replace).await;
            loaded.with_context(|| entry.name.clone())?;
            print(
                format!(
                    "{}: restored, schema version {}\n",
                    entry.name, entry.schema[1]
                )
                .as_bytes(),
            )?;
        }
        Ok(())
    })
}

async fn copy(store: &Store, stores: &Stores, dir: &Path) -> Result<Option<Entry>> {
    let location = stores.location(store.name);
    if location.is_empty(store.name).await? {
        ensure!(
            !store.is_needed,
            "`{location}` is empty\nhint: is this where the services keep their data?"
        );
        return Ok(None);
    }
    let (dialect, extension) = kind(&location);
    let file = format!("{}.{extension}", store.name);
    let path = dir.join(&file);
    let schema = schema(store, &location).await?;
    location.dump(store.name, &path).await?;
    let (bytes, sha256) = sum(&path)?;
    Ok(Some(Entry {
        name: store.name.to_owned(),
        dialect: dialect.to_owned(),
        file,
        bytes,
        sha256,
        schema,
    }))
}

async fn schema(store: &Store, location: &Location) -> Result<[i64; 2]> {
    let db = Db::open(location, store.name).await?;
    let steps = db.status(store.migrations).await;
    db.close().await;
    let steps = steps?;
    Ok([Owner::Platform, Owner::Service].map(|owner| {
        let own = steps
            .iter()
            .filter(|step| step.owner == owner && step.is_applied);
        own.map(|step| step.version).max().unwrap_or(0)
    }))
}

/// What a database is called in the manifest, and its copy's file.
fn kind(location: &Location) -> (&'static str, &'static str) {
    match location.dialect() {
        Dialect::Sqlite => ("sqlite", "sqlite"),
        Dialect::Postgres => ("postgresql", "pgdump"),
    }
}

fn check(entry: &Entry, dir: &Path, stores: &Stores) -> Result<()> {
    let Some(store) = all().find(|store| store.name == entry.name) else {
        bail!("this program has no such service");
    };
    let (dialect, extension) = kind(&stores.location(store.name));
    ensure!(
        entry.dialect == dialect,
        "the copy is of {}, and the service is on {dialect}\nhint: restore it where it came from",
        entry.dialect
    );
    ensure!(
        entry.file == format!("{}.{extension}", store.name),
        "`{}` is no file of a backup",
        entry.file
    );
    let newest = store.migrations.iter().map(|step| step.version).max();
    ensure!(
        newest.is_none_or(|newest| entry.schema[1] <= newest),
        "the copy has schema version {}, which this program does not know\nhint: restore it with the version that made it",
        entry.schema[1]
    );
    let found = sum(&dir.join(&entry.file))?;
    ensure!(
        found == (entry.bytes, entry.sha256.clone()),
        "`{}` is damaged: its SHA-256 differs",
        entry.file
    );
    Ok(())
}

/// Length and SHA-256 of a file.
fn sum(path: &Path) -> Result<(u64, String)> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        bytes += u64::try_from(read)?;
        context.update(chunk.get(..read).unwrap_or_default());
    }
    let sum = context.finish();
    let hex = sum.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Ok((bytes, hex.collect()))
}

fn write(dir: &Path, manifest: &Manifest) -> Result<()> {
    let beside = dir.join("manifest.new");
    let mut new = OpenOptions::new();
    let mut file = new.write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(serde_json::to_string_pretty(manifest)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, dir.join(MANIFEST))?;
    Ok(File::open(dir)?.sync_all()?)
}

fn read(dir: &Path) -> Result<Manifest> {
    let path = dir.join(MANIFEST);
    let unusable = || format!("`{}`", path.display());
    let length = fs::metadata(&path).with_context(unusable)?.len();
    ensure!(
        length <= MANIFEST_BYTES_MAX,
        "`{}` is too large for a manifest",
        path.display()
    );
    let text = fs::read_to_string(&path).with_context(unusable)?;
    let manifest: Manifest = serde_json::from_str(&text).with_context(unusable)?;
    if manifest.format != FORMAT {
        return Err(anyhow!(
            "`{}` has format {}, and this program reads {FORMAT}",
            path.display(),
            manifest.format
        ));
    }
    Ok(manifest)
}

fn rfc3339(at: UnixMicros) -> Result<String> {
    Ok(OffsetDateTime::from_unix_timestamp(at.seconds())?.format(&Rfc3339)?)
}
