//! Cache rules, named or of one route.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Compiler;
use super::routes::{Defined, Names};
use crate::codes;
use crate::diagnostic::Fault;
use crate::document::{CacheDoc, Settings};
use crate::field::{At, Either};
use crate::model::{Action, CacheRule};

const TTL_BOUNDS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);

impl Compiler<'_> {
    /// A definition among `caches`.
    pub(super) fn named_cache(&mut self, at: &At<CacheDoc>) -> CacheRule {
        let name = at.value.name.given();
        if let Some(name) = name
            && name.value == "off"
        {
            let fault = Fault::new(codes::BAD_NAME, "`off` is no name for a cache");
            self.report
                .push(name.mark, fault.hint("`cache: off` on a route means none"));
        }
        CacheRule {
            name: name.map(|name| name.value.as_str().into()),
            ..self.cache_rule(&at.value)
        }
    }

    /// The rule of a route; none where its answers do not come from an upstream.
    pub(super) fn cache(
        &mut self,
        settings: &Settings<'_>,
        action: &Action,
        (names, defined): (&Names<'_>, &Defined<'_>),
        owner: &str,
    ) -> Option<CacheRule> {
        let at = settings.cache.given()?;
        let rule = match &at.value {
            Either::Plain(word) if word == "off" => None,
            Either::Plain(name) => {
                let reference = At {
                    value: name.clone(),
                    mark: at.mark,
                };
                let position = self.find(&reference, &names.caches, owner)?;
                defined.caches.get(position).cloned()
            }
            Either::Full(doc) => {
                if let Some(name) = doc.name.given() {
                    let fault = Fault::new(
                        codes::CONTRADICTION,
                        "a cache rule within a route has no name",
                    );
                    self.report.push(
                        name.mark,
                        fault.hint("define it under `caches`, and write its name here"),
                    );
                }
                Some(self.cache_rule(doc))
            }
        };
        rule.filter(|_| matches!(action, Action::Forward(_)))
    }

    fn cache_rule(&mut self, doc: &CacheDoc) -> CacheRule {
        CacheRule {
            name: None,
            default_ttl: self.optional_duration(&doc.default_ttl, TTL_BOUNDS),
        }
    }
}
