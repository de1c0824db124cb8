//! Who may use a route: credentials, scopes, roles, and what upstreams are told of the caller.

use std::collections::HashSet;

use http::header::{AUTHORIZATION, COOKIE};

use super::routes::{Names, is_on};
use super::{Compiler, headers, values};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::AuthDoc;
use crate::field::{At, Either};
use crate::model::{Auth, Credential, IssuerId, Mode};

/// Scopes, roles, and claims of one route.
const GRANTS_MAX: usize = 64;

impl Compiler<'_> {
    /// None where nobody is asked for.
    pub(super) fn auth(
        &mut self,
        at: &At<Either<AuthDoc>>,
        names: &Names<'_>,
        owner: &str,
    ) -> Option<Auth> {
        let doc = match &at.value {
            Either::Full(doc) => doc,
            Either::Plain(word) if word == "none" => return None,
            Either::Plain(word) => {
                let message = format!("expected `none` or a map, found {}", shown(word));
                self.report
                    .push(at.mark, Fault::new(codes::CHOICE, message));
                return None;
            }
        };
        let issuer = self.required(&doc.issuer, at.mark, "auth", "issuer");
        let issuer = issuer.and_then(|issuer| self.find(issuer, &names.issuers, owner));
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
        Some(Auth {
            any_of: vec![Credential::Jwt(IssuerId(issuer.unwrap_or_default()))],
            mode: Mode::Enforce,
            optional,
            scopes,
            roles,
            claim_headers: self.claim_headers(doc),
            forward_token: is_on(&doc.forward_token),
        })
    }

    fn claim_headers(&mut self, doc: &AuthDoc) -> Vec<(String, http::HeaderName)> {
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
            let name = self.report.check(header.mark, claim_header(&header.value));
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
fn claim_header(text: &str) -> Result<http::HeaderName, Fault> {
    let name = headers::editable_name(text)?;
    if name == AUTHORIZATION || name == COOKIE {
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
