//! Who is served when the edge has too much to do.
//!
//! Judged right after the route is known and before anything about the request is verified:
//! refusing must cost less than serving.

use palisade_policy::model::{Priority, Route};

use crate::rejection::Rejection;

/// Up to how many percent of the bound requests of a priority are served.
fn percent(priority: Priority) -> usize {
    match priority {
        Priority::Low => 70,
        Priority::Normal => 85,
        Priority::High => 95,
        Priority::Critical => 100,
    }
}

/// Refuse what has to wait. `under_way` counts this request, too.
pub fn shed(max: Option<usize>, under_way: usize, route: &Route) -> Result<(), Rejection> {
    match max {
        Some(max) if under_way.saturating_mul(100) > max * percent(route.priority) => {
            Err(Rejection::Overloaded)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_policy::model::Origin;

    #[test]
    fn the_least_important_are_shed_first() {
        let all = [
            Priority::Low,
            Priority::Normal,
            Priority::High,
            Priority::Critical,
        ];
        let served = |max, under_way| -> Vec<bool> {
            let served = all.iter().map(|priority| {
                let origin = Origin {
                    file: "routes.yaml".into(),
                    line: 1,
                };
                let mut route = Route::tombstone("r".into(), origin);
                route.priority = *priority;
                shed(max, under_way, &route).is_ok()
            });
            served.collect()
        };
        for (under_way, expected) in [
            (1, [true, true, true, true]),
            (140, [true, true, true, true]),
            (141, [false, true, true, true]),
            (171, [false, false, true, true]),
            (191, [false, false, false, true]),
            (200, [false, false, false, true]),
            (201, [false, false, false, false]),
        ] {
            assert_eq!(served(Some(200), under_way), expected, "{under_way}");
            assert_eq!(served(None, under_way), [true; 4]);
        }
        assert_eq!(
            served(Some(10), 1),
            [true; 4],
            "the smallest bound there is"
        );
    }
}
