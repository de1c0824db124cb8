//! What happened, told to the other services (events) and to the auditors (audit log).
//! Invariant: both are written in the transaction of what they tell of. Entries of the
//! audit log wait for each other, so `Facts::tell` is the last thing before a commit.
//! Refuses personal data: ids, networks and counts only.

use std::time::Duration;

use core_platform::{
    audit::{Actor, Audit, NewEntry},
    clock::UnixMicros,
    db::Tx,
    events::{NewEvent, publish},
};
use core_proto::{
    auth::v1::{CredentialChanged, LoginFailed, NewDevice, SessionRevoked, TokenReuseDetected},
    user::v1::{ContactVerified, RelationshipChanged, UserDeleted, UserProfile, UserSettings},
};
use prost_types::{Struct, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    contacts::Kind,
    credentials::Change,
    keys::{ACCESS_LIFETIME, BELIEVED_FOR, KEYS_BELIEVED_FOR},
    origin::Origin,
    revocations::WRITTEN,
    sessions::Reason,
    store::revocations::{self, Dead},
};

/// What happened to a user.
pub(crate) enum Fact {
    Registered {
        handle: String,
    },
    ProfileUpdated {
        handle: String,
        display_name: String,
        version: i64,
    },
    SettingsUpdated {
        values: Struct,
        version: i64,
    },
    ContactVerified {
        kind: Kind,
        changed: bool,
    },
    PasswordChanged,
    PasswordReset,
    LoggedIn {
        session: Uuid,
        amr: Vec<String>,
    },
    NewDevice {
        session: Uuid,
    },
    SessionRevoked {
        session: Uuid,
        reason: Reason,
    },
    TokenReused {
        session: Uuid,
    },
    LoginFailed {
        severity: &'static str,
        failures: i64,
    },
    CredentialChanged {
        kind: &'static str,
        change: Change,
    },
    ApiKeyCreated {
        key: Uuid,
        scopes: Vec<String>,
    },
    ApiKeyRevoked {
        key: Uuid,
    },
    SigningKeyMade {
        kid: String,
        by: Actor,
    },
    SigningKeyRevoked {
        kid: String,
        by: Actor,
    },
    RoleGranted {
        role: String,
        by: Actor,
    },
    RoleRevoked {
        role: String,
        by: Actor,
    },
    Suspended {
        by: Actor,
    },
    Reinstated {
        by: Actor,
    },
    RelationshipChanged {
        target: Uuid,
        kind: &'static str,
        active: bool,
    },
    ExportRequested {
        export: Uuid,
    },
    ExportDownloaded {
        export: Uuid,
    },
    DeletionRequested {
        delete_at: UnixMicros,
    },
    DeletionCancelled,
    Deleted,
}

impl Fact {
    /// Who did it, where that is not the user whom it is about.
    fn by(&self) -> Option<Actor> {
        match self {
            Self::SigningKeyMade { by, .. }
            | Self::SigningKeyRevoked { by, .. }
            | Self::RoleGranted { by, .. }
            | Self::RoleRevoked { by, .. }
            | Self::Suspended { by }
            | Self::Reinstated { by } => Some(by.clone()),
            // What follows from another's deed by our rules.
            Self::SessionRevoked {
                reason: Reason::Suspended,
                ..
            }
            | Self::Deleted => Some(Actor::System),
            _ => None,
        }
    }

    /// Whose tokens are dead now, and for how long somebody could believe them.
    fn revokes(&self, user: Option<Uuid>) -> Option<(Dead<'_>, Duration)> {
        let dead = match self {
            Self::SessionRevoked { session, .. } => Dead::Session(*session),
            Self::ApiKeyRevoked { key } => Dead::ApiKey(*key),
            Self::Suspended { .. } | Self::DeletionRequested { .. } => Dead::User(user?),
            Self::SigningKeyRevoked { kid, .. } => {
                return Some((Dead::SigningKey(kid), KEYS_BELIEVED_FOR));
            }
            _ => return None,
        };
        Some((dead, BELIEVED_FOR))
    }
}

/// Whose fact it is, and where it came from.
pub(crate) struct About<'a> {
    /// `None`: a login of nobody we know.
    pub(crate) user: Option<Uuid>,
    /// Did the user do it themselves, proved by a token or a password?
    pub(crate) proved: bool,
    pub(crate) network: &'a str,
}

impl About<'_> {
    /// What a user did to their own things.
    pub(crate) fn by(user: Uuid) -> Self {
        Self {
            user: Some(user),
            proved: true,
            network: "",
        }
    }

    /// What was done to a user, not by them.
    pub(crate) fn to(user: Uuid) -> Self {
        Self {
            user: Some(user),
            proved: false,
            network: "",
        }
    }

    /// From where it was done.
    pub(crate) fn at(self, origin: &Origin) -> About<'_> {
        About {
            user: self.user,
            proved: self.proved,
            network: &origin.network,
        }
    }

    /// What is no user's matter.
    pub(crate) fn nobody() -> Self {
        Self {
            user: None,
            proved: false,
            network: "",
        }
    }
}

/// Tells facts.
#[derive(Clone)]
pub(crate) struct Facts {
    audit: Audit,
}

impl Facts {
    pub(crate) fn new(audit: Audit) -> Self {
        Self { audit }
    }

    pub(crate) async fn tell(
        &self,
        tx: &mut Tx,
        facts: &[Fact],
        about: &About<'_>,
        now: UnixMicros,
    ) -> Result<(), crate::Error> {
        for fact in facts {
            if let Some(event) = event(fact, about, now) {
                publish(tx, event).await?;
            }
        }
        for fact in facts {
            if let Some(entry) = entry(fact, about) {
                self.audit.record(tx, entry, now).await?;
            }
        }
        // Last, under the log's lock: their numbers ascend in the order of the commits.
        for fact in facts {
            if let Some((dead, believed_for)) = fact.revokes(about.user) {
                revocations::insert(tx, dead, now, now + believed_for).await?;
                WRITTEN.notify_waiters();
            }
        }
        Ok(())
    }
}

fn event(fact: &Fact, about: &About<'_>, now: UnixMicros) -> Option<NewEvent> {
    let subject = about.user.map(|user| user.to_string()).unwrap_or_default();
    let new = |kind| NewEvent::new(crate::SERVICE, kind, subject.clone(), now);
    let event = match fact {
        Fact::Registered { handle } => {
            let profile = UserProfile {
                handle: handle.clone(),
                display_name: String::new(),
            };
            user_created(&subject, &profile, 1, now)
        }
        Fact::ProfileUpdated {
            handle,
            display_name,
            version,
        } => new("user.profile_updated")
            .aggregate_version(*version)
            .data(&UserProfile {
                handle: handle.clone(),
                display_name: display_name.clone(),
            }),
        Fact::SettingsUpdated { values, version } => new("user.settings_updated")
            .aggregate_version(*version)
            .data(&UserSettings {
                values: Some(values.clone()),
            }),
        Fact::ContactVerified { kind, .. } => new("user.contact_verified").data(&ContactVerified {
            kind: kind.name().to_owned(),
        }),
        Fact::NewDevice { session } => new("auth.new_device").data(&NewDevice {
            session_id: session.to_string(),
            network: about.network.to_owned(),
        }),
        Fact::SessionRevoked { session, reason } => {
            new("session.revoked").data(&session_revoked(*session, *reason, now))
        }
        Fact::TokenReused { session } => {
            new("auth.token_reuse_detected").data(&TokenReuseDetected {
                session_id: session.to_string(),
            })
        }
        Fact::LoginFailed { severity, failures } => new("auth.login_failed").data(&LoginFailed {
            severity: (*severity).to_owned(),
            failures: i32::try_from(*failures).unwrap_or(i32::MAX),
            network: about.network.to_owned(),
        }),
        Fact::CredentialChanged { kind, change } => {
            new("auth.credential_changed").data(&CredentialChanged {
                kind: (*kind).to_owned(),
                change: change.name().to_owned(),
            })
        }
        Fact::RelationshipChanged {
            target,
            kind,
            active,
        } => new("relationship.changed").data(&RelationshipChanged {
            target_id: target.to_string(),
            kind: (*kind).to_owned(),
            active: *active,
        }),
        Fact::Deleted => new("user.deleted").data(&UserDeleted {}),
        // What only auditors have to know.
        _ => return None,
    };
    Some(match about.user.filter(|_| about.proved) {
        Some(user) => event.actor(user.to_string()),
        None => event,
    })
}

/// What tells of a user.
pub(crate) fn user_created(
    subject: &str,
    profile: &UserProfile,
    version: i64,
    at: UnixMicros,
) -> NewEvent {
    NewEvent::new(crate::SERVICE, "user.created", subject, at)
        .aggregate_version(version)
        .data(profile)
}

fn session_revoked(session: Uuid, reason: Reason, now: UnixMicros) -> SessionRevoked {
    let until = now + ACCESS_LIFETIME;
    SessionRevoked {
        session_id: session.to_string(),
        reason: reason.name().to_owned(),
        tokens_until: Some(Timestamp {
            seconds: until.seconds(),
            nanos: until.subsecond_nanos(),
        }),
    }
}

fn entry(fact: &Fact, about: &About<'_>) -> Option<NewEntry> {
    let (action, detail) = match fact {
        Fact::Registered { .. } => ("user.registered", Value::Null),
        // What a profile says is no matter of security.
        Fact::ProfileUpdated { .. }
        | Fact::SettingsUpdated { .. }
        | Fact::RelationshipChanged { .. } => return None,
        Fact::ContactVerified { kind, changed } => (
            "contact.verified",
            json!({ "kind": kind.name(), "changed": changed }),
        ),
        Fact::PasswordChanged => ("password.changed", Value::Null),
        Fact::PasswordReset => ("password.reset", Value::Null),
        Fact::LoggedIn { session, amr } => ("login", json!({ "session": session, "amr": amr })),
        Fact::NewDevice { session } => ("login.new_device", json!({ "session": session })),
        Fact::SessionRevoked { session, reason } => (
            "session.revoked",
            json!({ "session": session, "reason": reason.name() }),
        ),
        Fact::TokenReused { session } => ("token_reuse_detected", json!({ "session": session })),
        Fact::LoginFailed { severity, failures } => (
            "login.failed",
            json!({ "severity": severity, "failures": failures }),
        ),
        Fact::CredentialChanged { kind, change } => (
            "credential.changed",
            json!({ "kind": kind, "change": change.name() }),
        ),
        Fact::ApiKeyCreated { key, scopes } => {
            ("api_key.created", json!({ "key": key, "scopes": scopes }))
        }
        Fact::ApiKeyRevoked { key } => ("api_key.revoked", json!({ "key": key })),
        Fact::SigningKeyMade { kid, .. } => ("signing_key.made", json!({ "kid": kid })),
        Fact::SigningKeyRevoked { kid, .. } => ("signing_key.revoked", json!({ "kid": kid })),
        Fact::RoleGranted { role, .. } => ("role.granted", json!({ "role": role })),
        Fact::RoleRevoked { role, .. } => ("role.revoked", json!({ "role": role })),
        Fact::Suspended { .. } => ("user.suspended", Value::Null),
        Fact::Reinstated { .. } => ("user.reinstated", Value::Null),
        Fact::ExportRequested { export } => ("export.requested", json!({ "export": export })),
        Fact::ExportDownloaded { export } => ("export.downloaded", json!({ "export": export })),
        Fact::DeletionRequested { delete_at } => (
            "deletion.requested",
            json!({ "delete_at": delete_at.seconds() }),
        ),
        Fact::DeletionCancelled => ("deletion.cancelled", Value::Null),
        Fact::Deleted => ("user.deleted", Value::Null),
    };
    let actor = match (fact.by(), about.user.filter(|_| about.proved)) {
        (Some(by), _) => by,
        (None, Some(user)) => Actor::User(user),
        (None, None) => Actor::Anonymous,
    };
    Some(NewEntry {
        actor,
        action,
        subject: about.user.map(|user| user.to_string()),
        detail,
        address_prefix: (!about.network.is_empty()).then(|| about.network.to_owned()),
    })
}
