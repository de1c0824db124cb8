//! Which role may do what: `rbac.yaml`.
//! Invariant: a role grants the permissions written under it and no others.
//! Refuses wildcards: a new RPC would be granted to roles nobody thought of.

use std::collections::{BTreeMap, BTreeSet};

use palisade_documents::{
    codes,
    decode::Versioned,
    diagnostic::{Fault, shown},
    field::{At, Field, List, items},
    report::Report,
};
use serde::Deserialize;

use super::load::{is_name, missing};

/// An access token names them all.
const PERMISSIONS_MAX: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Document {
    version: Field<u64>,
    roles: List<RoleDoc>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RoleDoc {
    name: Field<String>,
    /// For those who read the file.
    #[allow(dead_code, reason = "part of the language, and for people only")]
    description: Field<String>,
    /// As in the access option of the RPCs, such as `profile:read`.
    permissions: List<String>,
}

impl Versioned for Document {
    fn version(&self) -> &Field<u64> {
        &self.version
    }
}

/// The permissions of each role.
#[derive(Debug, Default)]
pub struct Roles(BTreeMap<String, BTreeSet<String>>);

impl Roles {
    /// Whether there is such a role.
    pub fn knows(&self, role: &str) -> bool {
        self.0.contains_key(role)
    }

    /// Every role, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.0
            .iter()
            .map(|(name, granted)| (name.as_str(), granted))
    }

    /// What these roles grant together; a role that is not written down grants nothing.
    pub fn permissions<'r>(&self, roles: impl IntoIterator<Item = &'r str>) -> BTreeSet<&str> {
        let granted = roles.into_iter().filter_map(|role| self.0.get(role));
        granted.flatten().map(String::as_str).collect()
    }

    /// What is written, faults to `report`.
    pub(super) fn compile(document: &Document, report: &mut Report) -> Self {
        let mut roles = BTreeMap::new();
        for at in items(&document.roles) {
            let Some(name) = missing(&at.value.name, at.mark, "role", "name", report) else {
                continue;
            };
            if !is_name(name, "role", report) {
                continue;
            }
            if roles.contains_key(&name.value) {
                let message = format!("the role {} is there twice", shown(&name.value));
                report.push(name.mark, Fault::new(codes::DEFINED_TWICE, message));
                continue;
            }
            let permissions = missing(
                &at.value.permissions,
                at.mark,
                "role",
                "permissions",
                report,
            );
            if permissions.is_some_and(|list| list.value.len() > PERMISSIONS_MAX) {
                let message = format!("a role has more than {PERMISSIONS_MAX} permissions");
                report.push(at.mark, Fault::new(codes::TOO_MUCH, message));
            }
            roles.insert(name.value.clone(), granted(&at.value, report));
        }
        Self(roles)
    }
}

fn granted(role: &RoleDoc, report: &mut Report) -> BTreeSet<String> {
    let mut granted = BTreeSet::new();
    for permission in items(&role.permissions) {
        if !is_permission(permission) {
            let message = format!("{} is not a permission", shown(&permission.value));
            let hint = "an area and what is done there, such as `profile:read`";
            report.push(
                permission.mark,
                Fault::new(codes::BAD_NAME, message).hint(hint),
            );
        } else if !granted.insert(permission.value.clone()) {
            let message = format!("{} is written twice", shown(&permission.value));
            report.push(permission.mark, Fault::new(codes::REPEATED, message));
        }
    }
    granted
}

fn is_permission(at: &At<String>) -> bool {
    let is_word = |word: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
        (1..=40).contains(&word.len()) && word.bytes().all(plain)
    };
    at.value
        .split_once(':')
        .is_some_and(|(area, verb)| is_word(area) && is_word(verb))
}
