//! What an archive holds: one JSON document for each thing that is kept.
//! Invariant: every list is bounded; times are RFC 3339.

use std::io::{Cursor, Error as IoError, Write};

use core_platform::{
    audit::{Entry, Filter, LIST_MAX},
    clock::UnixMicros,
    crypto::SubjectKey,
};
use prost_types::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::Exports;
use crate::{
    error::Error,
    profiles::{CONTACT, NAME},
    relationships::Kind,
    sessions::DEVICE,
    store::{contacts, preferences, relationships, roles, sessions, users},
};

/// The newest entries about somebody that their archive holds.
const AUDIT_MAX: usize = 2_000;
/// More of one kind nobody may have.
const RELATIONSHIPS_MAX: i64 = 10_000;
/// Those of the last 30 days; older ones are forgotten.
const SESSIONS_MAX: i64 = 1_000;

/// A document and its name.
pub(super) type Document = (&'static str, Value);

impl Exports {
    pub(super) async fn documents(
        &self,
        key: &SubjectKey,
        now: UnixMicros,
    ) -> Result<Vec<Document>, Error> {
        let user = key.subject();
        let preferences = preferences::read(&self.db, user).await?;
        Ok(vec![
            ("profile.json", self.profile(key).await?),
            ("contacts.json", self.contacts(key).await?),
            (
                "preferences.json",
                preferences.map_or(Value::Null, |held| held.data),
            ),
            ("sessions.json", self.sessions_of(key).await?),
            ("credentials.json", self.credentials_of(key).await?),
            ("api-keys.json", self.api_keys_of(user, now).await?),
            ("roles.json", json!(roles::of_user(&self.db, user).await?)),
            ("relationships.json", self.relationships(user).await?),
            ("audit.json", self.audit_of(user).await?),
        ])
    }

    async fn profile(&self, key: &SubjectKey) -> Result<Value, Error> {
        let Some(row) = users::by_id(&self.db, key.subject()).await? else {
            return Ok(Value::Null);
        };
        Ok(json!({
            "id": row.id,
            "handle": row.handle,
            "name": key.open_text(NAME, &row.name)?,
            "display_name": row.display_name,
            "created_at": time(row.created_at),
            "updated_at": time(row.updated_at),
        }))
    }

    async fn contacts(&self, key: &SubjectKey) -> Result<Value, Error> {
        let rows = contacts::of_user(&self.db, key.subject()).await?;
        let listed = rows.into_iter().map(|row| {
            Ok::<_, Error>(json!({
                "kind": row.kind,
                "value": key.open_text(CONTACT, &row.value)?,
                "verified_at": row.verified_at.map(time),
            }))
        });
        listed.collect::<Result<_, Error>>().map(Value::Array)
    }

    async fn sessions_of(&self, key: &SubjectKey) -> Result<Value, Error> {
        let rows = sessions::history(&self.db, key.subject(), SESSIONS_MAX).await?;
        let listed = rows.into_iter().map(|(row, revoked_at)| {
            Ok::<_, Error>(json!({
                "id": row.id,
                "device": key.open_text(DEVICE, &row.device)?,
                "network": row.network,
                "amr": row.amr,
                "created_at": time(row.created_at),
                "last_seen_at": time(row.last_seen_at),
                "expires_at": time(row.expires_at),
                "revoked_at": revoked_at.map(time),
            }))
        });
        listed.collect::<Result<_, Error>>().map(Value::Array)
    }

    async fn credentials_of(&self, key: &SubjectKey) -> Result<Value, Error> {
        let held = self.credentials.of_user(key).await?;
        let listed = held.into_iter().map(|credential| {
            json!({
                "id": credential.id,
                "kind": credential.kind,
                "name": credential.name,
                "provider": credential.provider,
                "created_at": time(credential.created_at),
                "last_used_at": credential.last_used_at.map(time),
            })
        });
        Ok(Value::Array(listed.collect()))
    }

    async fn api_keys_of(&self, user: Uuid, now: UnixMicros) -> Result<Value, Error> {
        let keys = self.api_keys.of_user(user, now).await?;
        let listed = keys.into_iter().map(|key| {
            json!({
                "id": key.id,
                "name": key.name,
                "scopes": key.scopes,
                "created_at": time(key.created_at),
                "expires_at": time(key.expires_at),
                "last_used_at": key.last_used_at.map(time),
            })
        });
        Ok(Value::Array(listed.collect()))
    }

    /// What others are to the user is theirs.
    async fn relationships(&self, user: Uuid) -> Result<Value, Error> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let rows = relationships::from(&self.db, user, kind, None, RELATIONSHIPS_MAX).await?;
            all.extend(rows.into_iter().map(
                |row| json!({ "kind": kind.name(), "user_id": row.user, "since": time(row.since) }),
            ));
        }
        Ok(Value::Array(all))
    }

    async fn audit_of(&self, user: Uuid) -> Result<Value, Error> {
        let mut filter = Filter {
            subject: Some(user.to_string()),
            ..Filter::default()
        };
        let mut all = Vec::new();
        loop {
            let page = self.audit.list(&self.db, &filter).await?;
            filter.before = page.last().map(|entry| entry.seq);
            let is_last = i64::try_from(page.len()).unwrap_or(i64::MAX) < LIST_MAX;
            all.extend(page.iter().map(entry));
            if is_last || all.len() >= AUDIT_MAX {
                return Ok(Value::Array(all));
            }
        }
    }
}

fn entry(entry: &Entry) -> Value {
    json!({
        "at": time(entry.at),
        "actor_kind": entry.actor_kind,
        "action": entry.action,
        // Written by us as JSON.
        "detail": serde_json::from_str::<Value>(&entry.detail).unwrap_or(Value::Null),
        "network": entry.address_prefix,
    })
}

fn time(at: UnixMicros) -> String {
    let at = Timestamp {
        seconds: at.seconds(),
        nanos: at.subsecond_nanos(),
    };
    at.to_string()
}

/// Stored without compression: what is sealed and sent seldom needs none.
pub(super) fn zip(documents: &[Document]) -> Result<Vec<u8>, IoError> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, document) in documents {
        writer.start_file(*name, SimpleFileOptions::default())?;
        writer.write_all(&serde_json::to_vec_pretty(document)?)?;
    }
    Ok(writer.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn archives_hold_their_documents() {
        let documents = [("a.json", json!({ "x": 1 })), ("b.json", json!([]))];
        let bytes = super::zip(&documents).unwrap();
        let mut archive = ::zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        let mut text = String::new();
        archive
            .by_name("a.json")
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, json!({ "x": 1 }));
        assert_eq!(archive.len(), 2);
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(
            time(UnixMicros(1_800_000_000_000_000)),
            "2027-01-15T08:00:00Z"
        );
    }
}
