//! Descriptions of the API, and the page that shows them.

use palisade_openapi::{Contact, Info, Version};

use super::rewrites::every_match_is_a_prefix;
use super::{Compiler, values};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{ContactDoc, DocsDoc, OpenApiDoc, OpenApiVersionDoc, RouteDoc};
use crate::field::{At, Field};
use crate::model::Docs;

const TITLE: &str = "API";
const API_VERSION: &str = "1";

impl Compiler<'_> {
    pub(super) fn openapi(&mut self, written: &At<OpenApiDoc>) -> Info {
        let doc = &written.value;
        let contact = doc.contact.given().map(|at| self.contact(&at.value));
        Info {
            version: match doc.version.given().map(|at| at.value) {
                None | Some(OpenApiVersionDoc::V31) => Version::V3_1,
                Some(OpenApiVersionDoc::V30) => Version::V3_0,
            },
            title: self.told(&doc.title).unwrap_or_else(|| TITLE.to_owned()),
            // Of several lines, as long as a file may be.
            description: doc.description.given().map(|at| at.value.clone()),
            api_version: self
                .told(&doc.api_version)
                .unwrap_or_else(|| API_VERSION.to_owned()),
            contact: contact.unwrap_or_default(),
        }
    }

    fn contact(&mut self, doc: &ContactDoc) -> Contact {
        let url = doc.url.given();
        Contact {
            name: self.told(&doc.name),
            url: url.and_then(|at| self.report.check(at.mark, page(&at.value))),
            email: self.told(&doc.email),
        }
    }

    pub(super) fn docs(&mut self, written: &At<DocsDoc>, route: &RouteDoc) -> Docs {
        let doc = &written.value;
        let openapi = self.required(&doc.openapi, written.mark, "page", "openapi");
        let openapi = openapi.and_then(|at| self.report.check(at.mark, path(&at.value)));
        if !every_match_is_a_prefix(route) {
            let fault = Fault::new(
                codes::CONTRADICTION,
                "files of the page are below its path, and not every match is by `prefix`",
            );
            let hint = "write `path: { prefix: /docs }`";
            self.report.push(written.mark, fault.hint(hint));
        }
        Docs {
            openapi: openapi.unwrap_or_default(),
            title: self.told(&doc.title).unwrap_or_else(|| TITLE.to_owned()),
        }
    }

    fn told(&mut self, field: &Field<String>) -> Option<String> {
        let at = field.given()?;
        self.report.check(at.mark, text(&at.value))
    }
}

fn text(text: &str) -> Result<String, Fault> {
    values::plain_text(text, "text")?;
    Ok(text.to_owned())
}

/// Browsers would run another scheme.
fn page(text: &str) -> Result<String, Fault> {
    let text = self::text(text)?;
    if text.starts_with("https://") || text.starts_with("http://") {
        return Ok(text);
    }
    let message = format!("{} is not the URL of a page", shown(&text));
    Err(Fault::new(codes::TEXT, message).hint("write `https://example.com/help`"))
}

/// Of this host: the page asks no other.
fn path(text: &str) -> Result<String, Fault> {
    let text = self::text(text)?;
    if text.starts_with('/') && !text.starts_with("//") {
        return Ok(text);
    }
    let message = format!("{} is not a path on this host", shown(&text));
    Err(Fault::new(codes::PATH, message).hint("write `/openapi.json`"))
}
