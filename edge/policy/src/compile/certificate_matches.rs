//! Which client certificates are asked for.

use super::{Compiler, values};
use crate::document::CertificateDoc;
use crate::field::At;
use crate::model::CertificateMatch;

impl Compiler<'_> {
    pub(super) fn certificate_match(&mut self, at: &At<CertificateDoc>) -> CertificateMatch {
        let doc = &at.value;
        if doc.subject.is_absent() && doc.san.is_absent() && doc.sha256.is_absent() {
            self.missing(
                at.mark,
                "the client certificate has no `subject`, `san` or `sha256`".to_owned(),
            );
        }
        let sha256 = doc.sha256.given();
        CertificateMatch {
            subject: doc.subject.given().and_then(|at| self.value_match(at)),
            san: doc.san.given().and_then(|at| self.value_match(at)),
            sha256: sha256.and_then(|at| self.report.check(at.mark, values::sha256(&at.value))),
        }
    }
}
