//! Answers that a policy writes itself.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::{Compiler, headers};
use crate::codes;
use crate::diagnostic::Fault;
use crate::document::RespondDoc;
use crate::field::At;
use crate::model::DirectResponse;

/// Held in memory for each route; what is larger belongs behind a cluster.
const BODY_BYTES_MAX: u64 = 1 << 20;
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

impl Compiler<'_> {
    pub(super) fn respond(&mut self, written: &At<RespondDoc>) -> DirectResponse {
        let doc = &written.value;
        // 1xx are not answers, and 101 would open a tunnel to nowhere.
        let status = self.number_of_status(doc);
        let body = self.response_body(doc);
        let bodyless = matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
        );
        let given = [doc.body.given(), doc.file.given()];
        if let (true, Some(given)) = (bodyless, given.into_iter().flatten().next()) {
            let message = format!("an answer with status `{}` has no body", status.as_u16());
            self.report
                .push(given.mark, Fault::new(codes::CONTRADICTION, message));
        }
        let content_type = doc.content_type.given();
        if let Some(content_type) = content_type
            && doc.body.is_absent()
            && doc.file.is_absent()
        {
            let fault = Fault::new(
                codes::CONTRADICTION,
                "`content_type` has no effect without `body` or `file`",
            );
            self.report.push(content_type.mark, fault);
        }
        let content_type =
            content_type.and_then(|at| self.report.check(at.mark, headers::value(&at.value)));
        DirectResponse {
            status,
            content_type: body.is_some().then(|| content_type.unwrap_or(CONTENT_TYPE)),
            body: body.unwrap_or_default(),
        }
    }

    fn number_of_status(&mut self, doc: &RespondDoc) -> StatusCode {
        let number = self.large_number(&doc.status, 200, 200..=599);
        let number = u16::try_from(number).ok();
        number
            .and_then(|number| StatusCode::from_u16(number).ok())
            .unwrap_or(StatusCode::OK)
    }

    fn response_body(&mut self, doc: &RespondDoc) -> Option<Bytes> {
        match (doc.body.given(), doc.file.given()) {
            (Some(_), Some(file)) => {
                let fault = Fault::new(codes::CHOICE, "a body is one of `body` and `file`");
                self.report.push(file.mark, fault);
                None
            }
            // Within the bound, as policy files are.
            (Some(body), None) => Some(Bytes::from(body.value.clone())),
            (None, Some(file)) => {
                let content = self.input(file, BODY_BYTES_MAX)?;
                Some(Bytes::copy_from_slice(&content))
            }
            (None, None) => None,
        }
    }
}
