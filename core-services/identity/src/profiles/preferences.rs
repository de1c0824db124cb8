//! Settings that the clients of one user share: a JSON object of theirs.
//! Invariant: bounded in size and depth, whatever is merged into it; each change
//! counts its version on, and the event carries what came of it.

use core_platform::{clock::UnixMicros, token::Caller};
use serde_json::{Map, Value};

use super::Profiles;
use crate::{
    error::Error,
    facts::{About, Fact},
    json,
    store::preferences,
};

/// As JSON. A theme and a language take a hundred.
const JSON_BYTES_MAX: usize = 16 * 1024;
const DEPTH_MAX: usize = 8;

/// The preferences and their version.
pub(crate) struct Versioned {
    pub(crate) values: Map<String, Value>,
    pub(crate) version: i64,
}

impl Profiles {
    /// # Errors
    /// [`Error::SessionEnded`], or the database.
    pub(crate) async fn preferences(
        &self,
        caller: &Caller,
        now: UnixMicros,
    ) -> Result<Versioned, Error> {
        self.sessions.require_live(caller, now).await?;
        let row = preferences::read(&self.db, caller.user).await?;
        versioned(row.ok_or(Error::SessionEnded)?)
    }

    /// Merges `patch` (RFC 7396), if the preferences still have the version `only_if` names.
    ///
    /// # Errors
    /// [`Error::Changed`], [`Error::Invalid`] for too much, [`Error::SessionEnded`], or
    /// the database.
    pub(crate) async fn update_preferences(
        &self,
        caller: &Caller,
        patch: Map<String, Value>,
        only_if: Option<i64>,
        now: UnixMicros,
    ) -> Result<Versioned, Error> {
        self.sessions.require_live(caller, now).await?;
        check(&Value::Object(patch.clone()))?;
        let mut tx = self.db.begin().await?;
        let row = preferences::lock(&mut tx, caller.user).await?;
        let held = versioned(row.ok_or(Error::SessionEnded)?)?;
        if only_if.is_some_and(|expected| expected != held.version) {
            return Err(Error::Changed);
        }
        let mut values = held.values;
        merge(&mut values, patch);
        let data = Value::Object(values.clone());
        check(&data)?;
        preferences::update(&mut tx, caller.user, &data, now).await?;
        let version = held.version + 1;
        let fact = Fact::SettingsUpdated {
            values: json::to_struct(&values),
            version,
        };
        self.facts
            .tell(&mut tx, &[fact], &About::by(caller.user), now)
            .await?;
        tx.commit().await?;
        Ok(Versioned { values, version })
    }
}

fn versioned(row: preferences::PreferencesRow) -> Result<Versioned, Error> {
    match row.data {
        Value::Object(values) => Ok(Versioned {
            values,
            version: row.version,
        }),
        _ => Err(core_platform::db::Error::Corrupt("preferences.data").into()),
    }
}

/// RFC 7396 section 2. As deep as `check` admits, so recursion is bounded.
fn merge(into: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                into.remove(&name);
            }
            Value::Object(patch) => {
                let mut target = match into.remove(&name) {
                    Some(Value::Object(target)) => target,
                    _ => Map::new(),
                };
                merge(&mut target, patch);
                into.insert(name, Value::Object(target));
            }
            value => {
                into.insert(name, value);
            }
        }
    }
}

fn check(value: &Value) -> Result<(), Error> {
    const FIELD: &str = "values";
    if !is_within(value, DEPTH_MAX) {
        return Err(Error::Invalid(
            FIELD,
            "is nested deeper than 8 levels, or holds U+0000",
        ));
    }
    if value.to_string().len() > JSON_BYTES_MAX {
        return Err(Error::Invalid(FIELD, "is larger than 16 KiB"));
    }
    Ok(())
}

/// PostgreSQL's `jsonb` has no U+0000, so nowhere may one be.
fn is_within(value: &Value, depth: usize) -> bool {
    let plain = |text: &str| !text.contains('\0');
    match value {
        Value::Object(members) => {
            depth > 0
                && members
                    .iter()
                    .all(|(name, value)| plain(name) && is_within(value, depth - 1))
        }
        Value::Array(items) => depth > 0 && items.iter().all(|item| is_within(item, depth - 1)),
        Value::String(text) => plain(text),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    #[test]
    fn merges_as_rfc_7396_appendix_a_does() {
        let check = |held: Value, patch: Value, expected: Value| {
            let mut values = object(held);
            merge(&mut values, object(patch));
            assert_eq!(Value::Object(values), expected);
        };
        check(json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"}));
        check(
            json!({"a": "b"}),
            json!({"b": "c"}),
            json!({"a": "b", "b": "c"}),
        );
        check(
            json!({"a": "b", "b": "c"}),
            json!({"a": null}),
            json!({"b": "c"}),
        );
        check(json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"}));
        check(json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]}));
        check(
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        );
        check(
            json!({"a": [1]}),
            json!({"a": {"bb": {"ccc": null}}}),
            json!({"a": {"bb": {}}}),
        );
        check(
            json!({"e": null}),
            json!({"a": 1}),
            json!({"e": null, "a": 1}),
        );
    }

    #[test]
    fn sizes_are_bounded() {
        assert!(check(&json!({"theme": "dark"})).is_ok());
        assert!(check(&json!({"x": "y".repeat(JSON_BYTES_MAX)})).is_err());
        assert!(check(&json!({"x": "\0"})).is_err());
        let deep = (0..DEPTH_MAX).fold(json!(1), |inner, _| json!({ "x": inner }));
        assert!(check(&deep).is_ok());
        assert!(check(&json!({ "x": deep })).is_err());
    }
}
