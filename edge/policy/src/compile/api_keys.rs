//! Sets of API keys: who has one, and what it lets them do.
//!
//! Invariant: of a key only its SHA-256 is kept. Refuses keys so short that they can be guessed,
//! and prints nothing of a key file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};
use sha2::{Digest, Sha256};

use super::routes::Names;
use super::{Compiler, headers, quoted, values};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{ApiKeyDoc, ApiKeysDoc, IntrospectDoc};
use crate::field::{At, Field, items};
use crate::model::{ApiKey, ApiKeys, Cluster, Introspect, IssuerId};

const HEADER: &str = "x-api-key";
/// Keys of one set: some 300 bytes each.
const KEYS_MAX: usize = 10_000;
/// Scopes, and roles, of one key.
const GRANTS_MAX: usize = 64;
/// 128 bits where every byte is random: less can be tried out against the digest.
const KEY_BYTES_MIN: usize = 16;
/// As long as a field value may be (`values::TEXT_BYTES_MAX`).
const KEY_BYTES_MAX: u64 = 4_096;

impl Compiler<'_> {
    pub(super) fn api_keys(
        &mut self,
        at: &At<ApiKeysDoc>,
        names: &Names<'_>,
        clusters: &[Cluster],
    ) -> ApiKeys {
        let doc = &at.value;
        let name = doc.name.given().map_or("", |name| &name.value);
        if doc.introspect.is_absent() {
            self.required_list(&doc.keys, at.mark, "set of API keys", "keys");
        }
        let owner = format!("set of API keys {}", quoted(name));
        let introspect = doc.introspect.given();
        let introspect = introspect.and_then(|at| self.introspect(at, &owner, names, clusters));
        let mut keys: HashMap<[u8; 32], Arc<ApiKey>> = HashMap::new();
        for item in items(&doc.keys) {
            if keys.len() >= KEYS_MAX {
                let fault = Fault::new(codes::TOO_MUCH, format!("more than {KEYS_MAX} keys"));
                self.report.push(item.mark, fault);
                break;
            }
            let Some((digest, key)) = self.api_key(item) else {
                continue;
            };
            match keys.entry(digest) {
                Entry::Vacant(place) => {
                    place.insert(Arc::new(key));
                }
                Entry::Occupied(other) => {
                    let message = format!(
                        "the key of {} is the key of {} too",
                        quoted(&key.name),
                        quoted(&other.get().name)
                    );
                    let fault = Fault::new(codes::REPEATED, message);
                    self.report.push(item.mark, fault);
                }
            }
        }
        ApiKeys {
            name: name.into(),
            origin: self.origin(&doc.name, at.mark),
            header: self.key_header(&doc.header),
            keys,
            introspect,
        }
    }

    fn introspect(
        &mut self,
        at: &At<IntrospectDoc>,
        owner: &str,
        names: &Names<'_>,
        clusters: &[Cluster],
    ) -> Option<Introspect> {
        let doc = &at.value;
        let issuer = self.required(&doc.issuer, at.mark, "rule of introspection", "issuer");
        let issuer = issuer.and_then(|issuer| self.find(issuer, &names.issuers, owner));
        let cluster = self.required(&doc.cluster, at.mark, "rule of introspection", "cluster")?;
        Some(Introspect {
            cluster: self.asked_cluster(cluster, owner, &names.clusters, clusters)?,
            issuer: IssuerId(issuer?),
        })
    }

    fn key_header(&mut self, field: &Field<String>) -> HeaderName {
        let header = field
            .given()
            .and_then(|at| self.report.check(at.mark, key_header(&at.value)));
        header.unwrap_or_else(|| HeaderName::from_static(HEADER))
    }

    fn api_key(&mut self, at: &At<ApiKeyDoc>) -> Option<([u8; 32], ApiKey)> {
        let doc = &at.value;
        let name = self.required(&doc.name, at.mark, "key", "name");
        let name = name.filter(|at| {
            self.report
                .check(at.mark, values::name(&at.value))
                .is_some()
        });
        let digest = match (doc.sha256.given(), doc.file.given()) {
            // What stands there instead may be the key itself.
            (Some(digest), None) => {
                let parsed = super::conditions::digest(&digest.value).map_err(|_| {
                    let fault = Fault::new(
                        codes::DIGEST,
                        "the key's `sha256` is not 64 hexadecimal digits",
                    );
                    fault
                        .conceal()
                        .hint("`printf %s \"$KEY\" | sha256sum` prints it")
                });
                self.report.check(digest.mark, parsed)
            }
            (None, Some(file)) => self.key_file(file),
            (Some(digest), Some(_)) => {
                let message = "a key is given by its `sha256` or by its `file`, not by both";
                let fault = Fault::new(codes::CHOICE, message);
                self.report.push(digest.mark, fault);
                None
            }
            (None, None) => {
                if doc.sha256.is_absent() && doc.file.is_absent() {
                    self.missing(
                        at.mark,
                        "the key has neither a `sha256` nor a `file`".to_owned(),
                    );
                }
                None
            }
        };
        let scopes = self.texts(&doc.scopes, GRANTS_MAX, values::scope);
        let roles = self.texts(&doc.roles, GRANTS_MAX, |text| {
            values::plain_text(text, "role")
        });
        let key = ApiKey {
            name: name?.value.as_str().into(),
            scopes,
            roles,
        };
        Some((digest?, key))
    }

    /// The digest of what a file holds, without the line break at its end.
    fn key_file(&mut self, file: &At<String>) -> Option<[u8; 32]> {
        let content = self.input(file, KEY_BYTES_MAX)?;
        let key = content.trim_ascii();
        let problem = if key.len() < KEY_BYTES_MIN {
            Some(format!("holds fewer than {KEY_BYTES_MIN} bytes"))
        } else if !key.iter().all(u8::is_ascii_graphic) {
            Some("holds characters that a header field cannot carry".to_owned())
        } else {
            None
        };
        if let Some(problem) = problem {
            let fault = Fault::new(codes::WEAK_KEY, format!("{} {problem}", shown(&file.value)));
            self.report.push(
                file.mark,
                fault.hint("one line with the key, as `openssl rand -hex 32` prints it"),
            );
            return None;
        }
        Some(Sha256::digest(key).into())
    }
}

/// Tokens and sessions have fields of their own, and an API key is taken out of its field.
fn key_header(text: &str) -> Result<HeaderName, Fault> {
    headers::readable_name(text)?;
    let name = headers::editable_name(text)?;
    if name == AUTHORIZATION || name == COOKIE {
        let message = format!("{} carries other credentials than API keys", shown(text));
        let fault = Fault::new(codes::PROTECTED_HEADER, message);
        return Err(fault.hint("leave `header` out for `x-api-key`"));
    }
    Ok(name)
}
