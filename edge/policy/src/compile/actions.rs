//! What is done with the requests of a route: one of six things.

use super::Compiler;
use crate::codes;
use crate::diagnostic::{Fault, Mark};
use crate::document::RouteDoc;
use crate::field::{At, Either, Field};
use crate::model::Action;

impl Compiler<'_> {
    /// The action of a route whose requests do not go upstream; a stand-in where none is clear.
    pub(super) fn own_answer(&mut self, at: &At<RouteDoc>) -> Option<Action> {
        let doc = &at.value;
        let actions = [
            given(&doc.cluster),
            given(&doc.backends),
            given(&doc.redirect),
            given(&doc.respond),
            given(&doc.openapi),
            given(&doc.docs),
        ];
        let mut marks = actions.into_iter().flatten();
        let Some(_) = marks.next() else {
            let message = "the route has none of `cluster`, `backends`, `redirect`, `respond`, `openapi` and `docs`";
            self.missing(at.mark, message.to_owned());
            return Some(Action::Tombstone);
        };
        if let Some(second) = marks.next() {
            let fault = Fault::new(
                codes::CHOICE,
                "a route has one of `cluster`, `backends`, `redirect`, `respond`, `openapi` and `docs`",
            );
            if let Some(mark) = second {
                self.report.push(mark, fault);
            }
            return Some(Action::Tombstone);
        }
        let own = [
            !doc.redirect.is_absent(),
            !doc.respond.is_absent(),
            !doc.openapi.is_absent(),
            !doc.docs.is_absent(),
        ];
        if !own.contains(&true) {
            return None;
        }
        let (key, action) = if let Some(redirect) = doc.redirect.given() {
            ("redirect", Action::Redirect(self.redirect(redirect, doc)))
        } else if let Some(respond) = doc.respond.given() {
            ("respond", Action::Respond(self.respond(respond)))
        } else if let Some(openapi) = doc.openapi.given() {
            ("openapi", Action::OpenApi(self.openapi(openapi)))
        } else if let Some(docs) = doc.docs.given() {
            ("docs", Action::Docs(self.docs(docs, doc)))
        } else {
            // Reported; the policy will not be used.
            return Some(Action::Tombstone);
        };
        self.refuse_what_needs_an_upstream(doc, key);
        Some(action)
    }

    /// Keys of the route itself; what it inherits was not written for it.
    fn refuse_what_needs_an_upstream(&mut self, doc: &RouteDoc, action: &str) {
        let keys = [
            ("translate", given(&doc.translate)),
            ("rewrite", given(&doc.rewrite)),
            ("mirror", given(&doc.mirror)),
            ("websocket", given(&doc.websocket)),
            ("retries", given_and_on(&doc.retries)),
            ("cache", given_and_on(&doc.cache)),
            ("response_body_max", given(&doc.response_body_max)),
        ];
        for (key, mark) in keys {
            if let Some(Some(mark)) = mark {
                let message = format!("`{key}` has no effect together with `{action}`");
                let fault = Fault::new(codes::CONTRADICTION, message);
                self.report.push(
                    mark,
                    fault.hint("requests of this route do not go upstream"),
                );
            }
        }
    }
}

/// Whether a key is there, and where its value is unless that is at fault.
fn given<T>(field: &Field<T>) -> Option<Option<Mark>> {
    (!field.is_absent()).then(|| field.given().map(|at| at.mark))
}

fn given_and_on<T>(field: &Field<Either<T>>) -> Option<Option<Mark>> {
    let is_off = |at: &At<Either<T>>| matches!(&at.value, Either::Plain(word) if word == "off");
    given(field).filter(|_| !field.given().is_some_and(is_off))
}
