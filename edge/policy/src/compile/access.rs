//! Access rules, and which routes use them.

use std::ops::Range;

use super::routes::{Defined, Names, mode};
use super::{Compiler, quoted, values};
use crate::codes;
use crate::diagnostic::{Fault, Mark, lines_of, shown};
use crate::document::{AccessDoc, Settings};
use crate::expression::Expression;
use crate::field::{At, items};
use crate::model::{AccessId, AccessRule, AccessUse, Auth, Mode};

/// Rules of one route: each is judged for every request.
const RULES_MAX: usize = 16;
/// Scopes, and roles, of one rule.
const GRANTS_MAX: usize = 64;

impl Compiler<'_> {
    pub(super) fn access_rule(&mut self, at: &At<AccessDoc>) -> AccessRule {
        let doc = &at.value;
        let name = doc.name.given().map_or("", |name| &name.value);
        let says_nothing = doc.scopes.is_absent()
            && doc.roles.is_absent()
            && doc.claims.is_absent()
            && doc.client_addresses.is_absent()
            && doc.client_certificate.is_absent()
            && doc.expression.is_absent();
        if says_nothing {
            self.missing(
                at.mark,
                "the access rule asks for nothing and lets everybody pass".to_owned(),
            );
        }
        let certificate = doc.client_certificate.given();
        let expression = doc.expression.given();
        AccessRule {
            name: name.into(),
            origin: self.origin(&doc.name, at.mark),
            mode: mode(&doc.mode),
            scopes: self.texts(&doc.scopes, GRANTS_MAX, values::scope),
            roles: self.texts(&doc.roles, GRANTS_MAX, |text| {
                values::plain_text(text, "role")
            }),
            claims: self.value_matches(&doc.claims, |text| {
                values::plain_text(text, "claim")?;
                Ok(text.to_owned())
            }),
            client_addresses: self.client_addresses(&doc.client_addresses),
            client_certificate: certificate.and_then(|at| self.certificate_match(at)),
            expression: expression.and_then(|at| self.expression(at)),
        }
    }

    fn expression(&mut self, at: &At<String>) -> Option<Expression> {
        match Expression::compile(&at.value) {
            Ok(expression) => Some(expression),
            Err(faults) => {
                for fault in faults {
                    let mark = self.mark_within(at, fault.at);
                    let problem = Fault::new(fault.code, fault.message);
                    self.report.push(mark, problem.maybe_hint(fault.hint));
                }
                None
            }
        }
    }

    /// A part of a text, as it stands in its file. Where the file has escapes or folds lines, the
    /// whole text is marked.
    fn mark_within(&self, at: &At<String>, part: Range<usize>) -> Mark {
        let before = at.value.get(..part.start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = at.value.get(line_start..).unwrap_or("");
        let line = rest.lines().next().unwrap_or("");
        let written = self.folder.sources.get(at.mark.file as usize);
        let text = written.map_or("", |source| &source.text);
        // A block begins on the line after its `|`.
        let first = at.mark.line.saturating_sub(1) as usize;
        let below = before.matches('\n').count();
        let mut lines = lines_of(text).enumerate().skip(first + below).take(2);
        let found = lines.find_map(|(number, text)| Some((number, text.find(line)?, text)));
        let Some((number, column, text)) = found.filter(|_| !line.is_empty()) else {
            return at.mark;
        };
        let characters = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        let inside = before.get(line_start..).unwrap_or("");
        let end = part.end.min(line_start + line.len());
        let length = characters(at.value.get(part.start..end).unwrap_or(""));
        Mark {
            file: at.mark.file,
            line: u32::try_from(number + 1).unwrap_or(u32::MAX),
            column: characters(text.get(..column).unwrap_or("")) + characters(inside) + 1,
            length: length.max(1),
        }
    }

    /// The rules of a route, in the order in which they are judged.
    pub(super) fn access(
        &mut self,
        settings: &Settings<'_>,
        (names, defined): (&Names<'_>, &Defined<'_>),
        (auth, mode): (Option<&Auth>, Mode),
        owner: &str,
    ) -> Vec<AccessUse> {
        let mut uses: Vec<AccessUse> = Vec::new();
        for reference in items(settings.access) {
            let Some(position) = self.find(reference, &names.access, owner) else {
                continue;
            };
            let id = AccessId(position);
            let rule = defined.access.get(position);
            if auth.is_none() && rule.is_some_and(asks_for_a_caller) {
                let message = format!(
                    "access rule {} asks for scopes, roles or claims, and the route has no `auth`",
                    quoted(&reference.value)
                );
                let fault = Fault::new(codes::CONTRADICTION, message);
                self.report
                    .push(reference.mark, fault.hint("nobody would pass"));
            }
            if uses.iter().any(|other| other.id == id) {
                let message = format!("{} is listed twice", shown(&reference.value));
                self.report
                    .push(reference.mark, Fault::new(codes::REPEATED, message));
            } else if uses.len() >= RULES_MAX {
                let message = format!("more than {RULES_MAX} access rules");
                self.report
                    .push(reference.mark, Fault::new(codes::TOO_MUCH, message));
                break;
            } else {
                uses.push(AccessUse {
                    id,
                    mode: mode.or(rule.map_or(Mode::Enforce, |rule| rule.mode)),
                });
            }
        }
        uses
    }
}

fn asks_for_a_caller(rule: &AccessRule) -> bool {
    !(rule.scopes.is_empty() && rule.roles.is_empty() && rule.claims.is_empty())
}
