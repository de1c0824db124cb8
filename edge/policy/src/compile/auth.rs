//! Who may use a route: credentials, scopes, roles, and what upstreams are told of the caller.

use std::collections::HashSet;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};

use super::routes::{Defined, Names, is_on, mode};
use super::{Compiler, headers, values};
use crate::codes;
use crate::diagnostic::{Fault, Mark, shown};
use crate::document::{AuthDoc, CertificateDoc};
use crate::field::{At, Either, Field, items};
use crate::model::{ApiKeys, ApiKeysId, Auth, Credential, IssuerId, Mode};

/// Scopes, roles, and claims of one route.
const GRANTS_MAX: usize = 64;
/// Credentials of one route.
const CREDENTIALS_MAX: usize = 8;

/// The keys of which a credential has exactly one.
struct Ways<'d> {
    issuer: &'d Field<String>,
    api_keys: &'d Field<String>,
    client_certificate: &'d Field<CertificateDoc>,
}

impl Ways<'_> {
    fn given(&self) -> Vec<(&'static str, Mark)> {
        let ways = [
            ("issuer", self.issuer.given().map(|at| at.mark)),
            ("api_keys", self.api_keys.given().map(|at| at.mark)),
            (
                "client_certificate",
                self.client_certificate.given().map(|at| at.mark),
            ),
        ];
        let given = ways
            .into_iter()
            .filter_map(|(key, mark)| Some((key, mark?)));
        given.collect()
    }

    fn are_absent(&self) -> bool {
        self.issuer.is_absent() && self.api_keys.is_absent() && self.client_certificate.is_absent()
    }
}

impl Compiler<'_> {
    /// None where nobody is asked for.
    pub(super) fn auth(
        &mut self,
        at: &At<Either<AuthDoc>>,
        (names, defined): (&Names<'_>, &Defined<'_>),
        route: Mode,
        owner: &str,
    ) -> Option<Auth> {
        let doc = self.unless("none", at)?;
        let any_of = self.credentials(doc, at.mark, names, owner);
        let scopes = self.texts(&doc.scopes, GRANTS_MAX, values::scope);
        let roles = self.texts(&doc.roles, GRANTS_MAX, |text| {
            values::plain_text(text, "role")
        });
        let optional = is_on(&doc.optional);
        if let Some(written) = doc.optional.given()
            && optional
            && !(scopes.is_empty() && roles.is_empty())
        {
            let fault = Fault::new(
                codes::CONTRADICTION,
                "a caller without a token has no scopes and no roles, so it is not optional",
            );
            self.report.push(written.mark, fault);
        }
        let sets = any_of.iter().filter_map(|credential| match credential {
            Credential::ApiKey(set) => defined.api_keys.get(set.0),
            _ => None,
        });
        let sets: Vec<&ApiKeys> = sets.collect();
        let mut key_headers: Vec<HeaderName> = sets.iter().map(|set| set.header.clone()).collect();
        key_headers.dedup();
        let auth = Auth {
            any_of,
            mode: route.or(mode(&doc.mode)),
            optional,
            scopes,
            roles,
            claim_headers: self.claim_headers(doc, &key_headers),
            forward_token: is_on(&doc.forward_token),
            trades_keys: sets.iter().any(|set| set.introspect.is_some()),
            key_headers,
        };
        self.check_effect(doc, &auth);
        Some(auth)
    }

    /// Exactly one key, or a list of maps with exactly one each.
    fn credentials(
        &mut self,
        doc: &AuthDoc,
        mark: Mark,
        names: &Names<'_>,
        owner: &str,
    ) -> Vec<Credential> {
        let one = Ways {
            issuer: &doc.issuer,
            api_keys: &doc.api_keys,
            client_certificate: &doc.client_certificate,
        };
        let Some(list) = doc.any_of.given() else {
            if !doc.any_of.is_absent() {
                return Vec::new();
            }
            let credential = self.credential(&one, (mark, "auth"), names, owner);
            return credential.into_iter().collect();
        };
        if let Some((key, mark)) = one.given().first() {
            let fault = Fault::new(
                codes::CHOICE,
                format!("`{key}` stands beside `any_of`, which lists every credential"),
            );
            self.report
                .push(*mark, fault.hint("make it an item of `any_of`"));
        }
        if list.value.is_empty() {
            self.missing(
                list.mark,
                "the auth has an empty list of `any_of`".to_owned(),
            );
        }
        let mut any_of: Vec<Credential> = Vec::new();
        for item in items(&doc.any_of) {
            let ways = Ways {
                issuer: &item.value.issuer,
                api_keys: &item.value.api_keys,
                client_certificate: &item.value.client_certificate,
            };
            let credential = self.credential(&ways, (item.mark, "item"), names, owner);
            let Some(credential) = credential else {
                continue;
            };
            if any_of.contains(&credential) {
                let fault = Fault::new(codes::REPEATED, "this credential is listed twice");
                self.report.push(item.mark, fault);
            } else if any_of.len() >= CREDENTIALS_MAX {
                let message = format!("more than {CREDENTIALS_MAX} credentials");
                self.report
                    .push(item.mark, Fault::new(codes::TOO_MUCH, message));
                break;
            } else {
                any_of.push(credential);
            }
        }
        any_of
    }

    fn credential(
        &mut self,
        ways: &Ways<'_>,
        (mark, kind): (Mark, &str),
        names: &Names<'_>,
        owner: &str,
    ) -> Option<Credential> {
        if let Some((key, mark)) = ways.given().get(1) {
            let fault = Fault::new(
                codes::CHOICE,
                format!("`{key}` is a second credential in one map"),
            );
            self.report.push(
                *mark,
                fault.hint("list them: `any_of: [{ issuer: … }, { api_keys: … }]`"),
            );
            return None;
        }
        if let Some(issuer) = ways.issuer.given() {
            let position = self.find(issuer, &names.issuers, owner)?;
            return Some(Credential::Jwt(IssuerId(position)));
        }
        if let Some(set) = ways.api_keys.given() {
            let position = self.find(set, &names.api_keys, owner)?;
            return Some(Credential::ApiKey(ApiKeysId(position)));
        }
        if let Some(at) = ways.client_certificate.given() {
            return self
                .certificate_match(at)
                .map(Credential::ClientCertificate);
        }
        if ways.are_absent() {
            self.missing(
                mark,
                format!("the {kind} has no `issuer`, `api_keys` or `client_certificate`"),
            );
        }
        None
    }

    /// Keys about tokens, where none is taken.
    fn check_effect(&mut self, doc: &AuthDoc, auth: &Auth) {
        if auth.any_of.is_empty() || auth.has_claims() {
            return;
        }
        if let Some(at) = doc.forward_token.given() {
            let message = "`forward_token` has no effect without an `issuer`";
            self.report
                .push(at.mark, Fault::new(codes::CONTRADICTION, message));
        }
        let claims = doc.claim_headers.given();
        for (claim, _) in claims.into_iter().flat_map(|at| &at.value.0) {
            if claim.value != "sub" {
                let message = format!(
                    "claim {} is of tokens, and the route takes none",
                    shown(&claim.value)
                );
                let fault = Fault::new(codes::CONTRADICTION, message);
                self.report
                    .push(claim.mark, fault.hint("every caller has a `sub`"));
            }
        }
        let has_key = |credential: &Credential| matches!(credential, Credential::ApiKey(_));
        for (list, key) in [(&doc.scopes, "scopes"), (&doc.roles, "roles")] {
            if let Some(at) = list.given()
                && !auth.any_of.iter().any(has_key)
            {
                let message = format!("a client certificate has no `{key}`");
                self.report
                    .push(at.mark, Fault::new(codes::CONTRADICTION, message));
            }
        }
    }

    fn claim_headers(
        &mut self,
        doc: &AuthDoc,
        key_headers: &[HeaderName],
    ) -> Vec<(String, HeaderName)> {
        let mut claims = Vec::new();
        let mut seen = HashSet::new();
        for (claim, header) in doc
            .claim_headers
            .given()
            .into_iter()
            .flat_map(|at| &at.value.0)
        {
            let checked = self
                .report
                .check(claim.mark, values::plain_text(&claim.value, "claim"));
            let Some(header) = header.given() else {
                continue;
            };
            let name = claim_header(&header.value, key_headers);
            let name = self.report.check(header.mark, name);
            let (Some(()), Some(name)) = (checked, name) else {
                continue;
            };
            if claims.len() >= GRANTS_MAX {
                self.report.push(
                    claim.mark,
                    Fault::new(codes::TOO_MUCH, format!("more than {GRANTS_MAX} claims")),
                );
                break;
            }
            if self.is_first(header, &name, &mut seen) {
                claims.push((claim.value.clone(), name));
            }
        }
        claims
    }
}

/// A claim in one of these would be taken for the client's own credentials; a name with `_` is
/// removed from every request, and upstreams may read it as another.
fn claim_header(text: &str, key_headers: &[HeaderName]) -> Result<HeaderName, Fault> {
    let name = headers::editable_name(text)?;
    if name == AUTHORIZATION || name == COOKIE || key_headers.contains(&name) {
        return Err(Fault::new(
            codes::PROTECTED_HEADER,
            format!("{} carries credentials, not claims", shown(text)),
        ));
    }
    if name.as_str().contains('_') {
        let fault = Fault::new(
            codes::HEADER,
            format!(
                "{} has an underscore, which upstreams read as a dash",
                shown(text)
            ),
        );
        return Err(fault.hint(format!("write {}", shown(&text.replace('_', "-")))));
    }
    Ok(name)
}
