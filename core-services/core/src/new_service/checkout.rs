//! The checkout in which the command runs, read only.
//! Invariant: paths are from its root, with `/`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};

use super::name::Name;

/// What makes a folder ours: the workspace, and the list of services.
const MARKS: [&str; 2] = ["Cargo.toml", "core-services/core/src/services.rs"];
const CONTRACTS: &str = "core-services/proto/proto";
/// As `Definition` has it.
const REDIS_DATABASE: &str = "redis_database: ";
/// Redis has sixteen unless told otherwise.
const REDIS_DATABASE_MAX: u8 = 15;

pub(super) struct Checkout(PathBuf);

impl Checkout {
    /// Around the current folder.
    pub(super) fn here() -> Result<Self> {
        let here = env::current_dir().context("the current folder")?;
        let root = here.ancestors().find(|folder| is_root(folder));
        let root = root.ok_or_else(|| {
            anyhow!(
                "`{}` is in no checkout of Palisade\nhint: run it where the workspace's Cargo.toml is",
                here.display()
            )
        })?;
        Ok(Self(root.to_owned()))
    }

    #[cfg(test)]
    pub(super) fn at(root: &Path) -> Self {
        Self(root.to_owned())
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    pub(super) fn read(&self, path: &str) -> Result<String> {
        let from = self.path(path);
        fs::read_to_string(&from).with_context(|| format!("cannot read `{}`", from.display()))
    }

    /// Refuses a name that is in use, be it only in a path.
    pub(super) fn require_free(&self, name: &Name) -> Result<()> {
        for place in [
            "core-services/sample",
            "core-services/proto/proto/sample",
            "policies/routes/sample.yaml",
            "policies/tests/sample.yaml",
        ] {
            let place = name.fill(place);
            if self.path(&place).exists() {
                bail!("`{place}` exists\nhint: choose another name, or take it away");
            }
        }
        let path = format!("\"/v1/{}", name.as_str());
        for file in files_below(&self.path(CONTRACTS))? {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read `{}`", file.display()))?;
            let mut found = text.match_indices(&path).map(|(at, _)| at + path.len());
            let is_bound = |at: usize| {
                text.get(at..)
                    .is_some_and(|rest| rest.starts_with(['/', '"', ':']))
            };
            if found.any(is_bound) {
                bail!(
                    "`/v1/{}` is bound in `{}`\nhint: choose another name",
                    name.as_str(),
                    file.display()
                );
            }
        }
        Ok(())
    }

    /// The first that no service's definition names.
    pub(super) fn free_redis_database(&self) -> Result<u8> {
        let services = self.path("core-services");
        let taken: Vec<u8> = fs::read_dir(&services)
            .with_context(|| format!("cannot read `{}`", services.display()))?
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("src/lib.rs")).ok())
            .filter_map(|text| {
                let (_, rest) = text.split_once(REDIS_DATABASE)?;
                rest.split(',').next()?.parse().ok()
            })
            .collect();
        let mut all = 0..=REDIS_DATABASE_MAX;
        let free = all.find(|number| !taken.contains(number));
        free.ok_or_else(|| {
            anyhow!(
                "all {} databases of Redis are taken",
                REDIS_DATABASE_MAX + 1
            )
        })
    }
}

fn is_root(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join(MARKS[0]));
    let is_workspace = manifest.is_ok_and(|text| text.lines().any(|line| line == "[workspace]"));
    is_workspace && folder.join(MARKS[1]).is_file()
}

fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "proto") {
                found.push(path);
            }
        }
    }
    Ok(found)
}
