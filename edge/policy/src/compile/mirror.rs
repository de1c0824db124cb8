//! A copy of requests for another cluster.

use std::ops::RangeInclusive;

use super::routes::Names;
use super::{Compiler, quoted, values};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::RouteDoc;
use crate::field::Field;
use crate::model::{Backend, ClusterId, Mirror};

const PERCENT_BOUNDS: RangeInclusive<u32> = 1..=100;
const BODY_BYTES: u64 = 64 << 10;
/// Bodies are held in memory until they are whole, a hundred at once for each cluster.
const BODY_BYTES_MAX: u64 = 1 << 20;

impl Compiler<'_> {
    pub(super) fn mirror(
        &mut self,
        route: &RouteDoc,
        backends: &[Backend],
        names: &Names<'_>,
        owner: &str,
    ) -> Option<Mirror> {
        let at = route.mirror.given()?;
        let doc = &at.value;
        let percent = self.number(&doc.percent, *PERCENT_BOUNDS.end(), PERCENT_BOUNDS);
        let body_max = self.mirrored_body(&doc.body_max);
        let written = self.required(&doc.cluster, at.mark, "mirror", "cluster")?;
        let cluster = ClusterId(self.find(written, &names.clusters, owner)?);
        if backends.iter().any(|backend| backend.cluster == cluster) {
            let message = format!(
                "{owner} mirrors to cluster {}, where its requests go anyway",
                quoted(&written.value)
            );
            let fault = Fault::new(codes::OWN_MIRROR, message);
            self.report.push(
                written.mark,
                fault.hint("each would be served twice; name another cluster"),
            );
        }
        Some(Mirror {
            cluster,
            percent,
            body_max,
        })
    }

    fn mirrored_body(&mut self, field: &Field<String>) -> u64 {
        let Some(written) = field.given() else {
            return BODY_BYTES;
        };
        let size = self
            .report
            .check(written.mark, values::size(&written.value));
        let size = size.unwrap_or(BODY_BYTES);
        if size > BODY_BYTES_MAX {
            let message = format!("{} is more than `1MiB`", shown(&written.value));
            self.report
                .push(written.mark, Fault::new(codes::OUT_OF_RANGE, message));
        }
        size
    }
}
