//! Refusals that are not enforced: counted and logged, so that a rule can be watched before it is.

use std::sync::Arc;

use palisade_policy::model::Mode;

use crate::rejection::Rejection;

/// What a rule in shadow would have refused.
#[derive(Debug, Clone)]
pub struct Shadowed {
    /// `authn`, `authz`, `access` or `rate_limit`.
    pub stage: &'static str,
    /// Of the rejection.
    pub code: &'static str,
    /// The access rule or the limit, where it has a name.
    pub rule: Option<Arc<str>>,
    /// For the log, as the rejection's own.
    pub detail: Option<String>,
}

impl Shadowed {
    pub fn new(stage: &'static str, rejection: &Rejection) -> Self {
        Self {
            stage,
            code: rejection.code(),
            rule: None,
            detail: rejection.detail(),
        }
    }

    #[must_use]
    pub fn by(self, rule: &Arc<str>) -> Self {
        Self {
            rule: Some(rule.clone()),
            ..self
        }
    }
}

/// Whether the request ends here: only what is enforced refuses.
pub fn refuse(
    mode: Mode,
    rejection: Rejection,
    shadowed: Shadowed,
    all: &mut Vec<Shadowed>,
) -> Result<(), Rejection> {
    match mode {
        Mode::Enforce => Err(rejection),
        Mode::Shadow => {
            all.push(shadowed);
            Ok(())
        }
    }
}
