//! The commands that serve nothing.
//! Invariant: what they print goes to standard output, what went wrong to
//! standard error, so both can be piped.

use std::{
    fs,
    io::{self, Write},
};

use anyhow::Context;
use core_identity::{MIGRATIONS, SERVICE};
use core_platform::db::{Db, Location};
use serde_json::json;

use crate::{
    Failure,
    cli::{DescriptorsFlags, MigrateFlags, ServeFlags},
};

/// `palisade-core migrate`
pub(crate) fn migrate(flags: &MigrateFlags) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::running)?;
    let version = runtime
        .block_on(async {
            let db = Db::open(&Location::Directory(flags.data_dir.clone()), SERVICE).await?;
            let version = db.migrate(&MIGRATIONS, flags.to).await?;
            db.close().await;
            Ok::<_, core_platform::db::Error>(version)
        })
        .map_err(Failure::running)?;
    print(format!("{SERVICE}: schema version {version}\n").as_bytes())
}

/// `palisade-core check-config`: the settings as they would be used. They hold no
/// secret; keys are shown as the files they are read from.
pub(crate) fn check_config(flags: &ServeFlags) -> Result<(), Failure> {
    let tokens = flags.tokens().map_err(Failure::usage)?;
    let process = &flags.process;
    process.settings().map_err(Failure::usage)?;
    let settings = json!({
        "grpc": process.grpc,
        "admin": process.admin,
        "data_dir": process.data_dir,
        "tls_cert": process.tls_cert,
        "tls_key": process.tls_key,
        "tls_ca": process.tls_ca,
        "trust_domain": process.trust_domain,
        "allowed_peers": process.allowed_peers,
        "drain_deadline_ms": u64::try_from(process.drain_deadline.as_millis()).unwrap_or(u64::MAX),
        "log": process.log,
        "issuer": tokens.issuer,
        "audience": tokens.audience,
    });
    print(format!("{settings:#}\n").as_bytes())
}

/// `palisade-core descriptors`
pub(crate) fn descriptors(flags: &DescriptorsFlags) -> Result<(), Failure> {
    let Some(path) = &flags.out else {
        return print(core_proto::DESCRIPTOR_SET);
    };
    fs::write(path, core_proto::DESCRIPTOR_SET)
        .with_context(|| format!("cannot write `{}`", path.display()))
        .map_err(Failure::Running)
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(Failure::running)
}
