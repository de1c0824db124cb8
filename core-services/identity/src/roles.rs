//! Roles, and what each may do by the policy `rbac.yaml`.
//! Invariant: everybody has the role `user`; what others have comes from grants, and a
//! role that is written nowhere grants nothing.

use std::{collections::BTreeSet, sync::Arc};

use core_platform::{
    db::{self, On},
    policy::PolicyStore,
};
use uuid::Uuid;

use crate::store::roles;

/// Everybody's.
pub(crate) const USER: &str = "user";
/// Whose last holder keeps it.
pub(crate) const ADMIN: &str = "admin";
/// What everybody may do where the policy doesn't say.
const USER_PERMISSIONS: [&str; 2] = ["profile:read", "profile:write"];

/// What somebody may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) roles: Vec<String>,
    pub(crate) permissions: BTreeSet<String>,
}

impl Rights {
    /// For the claim of that name (RFC 6749 section 3.3).
    pub(crate) fn scope(&self) -> String {
        let permissions: Vec<_> = self.permissions.iter().map(String::as_str).collect();
        permissions.join(" ")
    }
}

/// The roles there are.
#[derive(Clone)]
pub(crate) struct Roles {
    policies: Arc<PolicyStore>,
}

impl Roles {
    pub(crate) fn new(policies: Arc<PolicyStore>) -> Self {
        Self { policies }
    }

    /// Of a user, now.
    pub(crate) async fn rights(
        &self,
        on: impl Into<On<'_>>,
        user: Uuid,
    ) -> Result<Rights, db::Error> {
        let mut roles = vec![USER.to_owned()];
        roles.extend(roles::of_user(on, user).await?);
        let granted = roles.iter().filter_map(|role| self.permissions(role));
        Ok(Rights {
            permissions: granted.flatten().collect(),
            roles,
        })
    }

    /// What a role may do; `None` if there is no such role.
    pub(crate) fn permissions(&self, role: &str) -> Option<BTreeSet<String>> {
        let policies = self.policies.current();
        if policies.roles.knows(role) {
            let written = policies.roles.permissions([role]);
            return Some(written.into_iter().map(str::to_owned).collect());
        }
        (role == USER).then(|| USER_PERMISSIONS.map(str::to_owned).into())
    }

    /// All of them, by name.
    pub(crate) fn list(&self) -> Vec<(String, BTreeSet<String>)> {
        let policies = self.policies.current();
        let mut names: BTreeSet<String> = policies
            .roles
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect();
        names.insert(USER.to_owned());
        let known = names.into_iter();
        known
            .filter_map(|name| self.permissions(&name).map(|granted| (name, granted)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_policy_everybody_is_a_user_and_nobody_more() {
        let roles = Roles::new(Arc::default());
        let expected = USER_PERMISSIONS.map(str::to_owned).into();
        assert_eq!(roles.permissions(USER), Some(expected));
        assert_eq!(roles.permissions(ADMIN), None);
        assert_eq!(roles.list().len(), 1);
    }
}
