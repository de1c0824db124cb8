//! Rate limits, as written.

use serde::Deserialize;

use super::auth::ModeDoc;
use crate::field::{Either, Field};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitDoc {
    pub(crate) name: Field<String>,
    pub(crate) mode: Field<ModeDoc>,
    pub(crate) key: Field<Either<LimitKeyDoc>>,
    pub(crate) rate: Field<String>,
    pub(crate) burst: Field<u64>,
    pub(crate) keys_max: Field<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitKeyDoc {
    pub(crate) header: Field<String>,
    pub(crate) claim: Field<String>,
}
