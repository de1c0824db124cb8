//! `palisade-core ops audit verify`: was the audit log touched?
//! Invariant: what it prints on standard output is the head and nothing else, fit to be
//! the next `--anchor`; of a log that was touched it prints none.

use std::{fs, path::Path};

use anyhow::{Context, anyhow};
use core_platform::{
    audit::{Anchor, Audit, Report},
    clock,
};

use super::{flags::VerifyFlags, open};
use crate::{
    Failure,
    offline::{block_on, print},
};

pub(super) fn verify(flags: &VerifyFlags) -> Result<(), Failure> {
    let stores = flags.stores.settings()?;
    let anchor = flags.anchor.as_deref().map(anchor).transpose();
    let anchor = anchor.map_err(Failure::usage)?;
    block_on(async {
        let name = flags.service.definition().name;
        let db = open(flags.service, &stores).await?;
        let vault = flags.keyring.vault(&db, &stores, clock::now()).await?;
        let report = Audit::new(&vault)?.verify(&db, anchor.as_ref()).await;
        db.close().await;
        let Report {
            entries,
            head,
            fault,
        } = report?;
        if let Some(fault) = fault {
            return Err(anyhow!(
                "the audit log of {name} was touched: {fault}; entries in order before that: {entries}\nhint: keep the database as it is, and compare with a backup"
            ));
        }
        print(format!("{head}\n").as_bytes())
    })
}

fn anchor(path: &Path) -> anyhow::Result<Anchor> {
    let named = || format!("--anchor `{}`", path.display());
    let text = fs::read_to_string(path).with_context(named)?;
    text.parse().with_context(named)
}
