//! `access.yaml` as written: which service may call which RPCs of others.
//! Invariant: each fault the matrix finds is told where the entry stands.
//! Refuses to judge entries itself: `crate::access` does.

use palisade_documents::{
    codes,
    decode::Versioned,
    diagnostic::{Fault, Mark, Report},
    field::{Entries, Field, items},
};
use prost_reflect::DescriptorPool;
use serde::Deserialize;

use crate::access::{self, Matrix};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Document {
    version: Field<u64>,
    /// Calling service to RPCs: `package.Service/Rpc`, or `package.Service/*`.
    callers: Field<Entries<Vec<Field<String>>>>,
}

impl Versioned for Document {
    fn version(&self) -> &Field<u64> {
        &self.version
    }
}

/// What is written, faults to `report`.
pub(super) fn compile(document: &Document, report: &mut Report) -> Matrix {
    // The process does not start on descriptors that cannot be read.
    let Ok(pool) = DescriptorPool::decode(core_proto::DESCRIPTOR_SET) else {
        return Matrix::default();
    };
    let mut whole = access::Document::default();
    let callers = document.callers.given().map(|callers| &callers.value.0);
    for (caller, rpcs) in callers.into_iter().flatten() {
        judge(&entry(&caller.value, None), &pool, caller.mark, report);
        let named = whole.callers.entry(caller.value.clone()).or_default();
        for rpc in items(rpcs) {
            let one = entry(&caller.value, Some(&rpc.value));
            if access::Matrix::compile(&entry(&caller.value, None), &pool).is_ok() {
                judge(&one, &pool, rpc.mark, report);
            }
            named.push(rpc.value.clone());
        }
    }
    if report.has_errors() {
        return Matrix::default();
    }
    let mark = document.callers.given().map(|callers| callers.mark);
    judge(&whole, &pool, mark.unwrap_or_default(), report)
}

/// One line of the file.
fn entry(caller: &str, rpc: Option<&str>) -> access::Document {
    let rpcs = rpc.into_iter().map(str::to_owned).collect();
    access::Document {
        callers: [(caller.to_owned(), rpcs)].into(),
    }
}

fn judge(
    document: &access::Document,
    pool: &DescriptorPool,
    mark: Mark,
    report: &mut Report,
) -> Matrix {
    let faults = match Matrix::compile(document, pool) {
        Ok(matrix) => return matrix,
        Err(faults) => faults.0,
    };
    for fault in faults {
        let (message, hint) = match fault.split_once("\nhint: ") {
            Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
            None => (fault, None),
        };
        let fault = Fault::new(codes::UNKNOWN_NAME, message);
        report.push(mark, fault.maybe_hint(hint));
    }
    Matrix::default()
}
