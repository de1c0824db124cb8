//! Route to cluster by weight, and whether the mirror gets a copy.
//!
//! Chosen by the request's number and by nothing else: all tries of a request go to one cluster,
//! and whoever knows the number knows the choice.

use palisade_policy::model::{ClusterId, Mirror, Route};

/// The cluster that serves the request; none where the edge answers itself.
pub fn choose(route: &Route, request: u128) -> Option<ClusterId> {
    let backends = route.backends();
    if let [only] = backends {
        return Some(only.cluster);
    }
    let weights = backends.iter().map(|backend| u64::from(backend.weight));
    let mut point = share(high(request), weights.sum());
    for backend in backends {
        let weight = u64::from(backend.weight);
        if point < weight {
            return Some(backend.cluster);
        }
        point -= weight;
    }
    None
}

/// The rule of the route's mirror, where this request is one of those it gets.
pub fn mirror(route: &Route, request: u128) -> Option<&Mirror> {
    let rule = route.forward()?.mirror.as_ref()?;
    // Not by the bits that chose the cluster: each cluster's requests are to be in it.
    (share(low(request), 100) < u64::from(rule.percent)).then_some(rule)
}

/// A number below `whole`, each as often as any other.
fn share(chance: u64, whole: u64) -> u64 {
    let scaled = (u128::from(chance) * u128::from(whole)) >> 64;
    u64::try_from(scaled).unwrap_or(0)
}

fn high(number: u128) -> u64 {
    u64::try_from(number >> 64).unwrap_or(0)
}

fn low(number: u128) -> u64 {
    u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_policy::model::{Action, Backend, Forward, Origin};

    fn route(weights: &[u32], percent: u32) -> Route {
        let origin = Origin {
            file: "routes.yaml".into(),
            line: 1,
        };
        let mut route = Route::tombstone("r".into(), origin);
        let backends = weights.iter().enumerate();
        route.action = Action::Forward(Forward {
            backends: backends
                .map(|(position, weight)| Backend {
                    cluster: ClusterId(position),
                    weight: *weight,
                })
                .collect(),
            translate: false,
            rewrite: None,
            retries: None,
            mirror: Some(Mirror {
                cluster: ClusterId(99),
                percent,
                body_max: 0,
            }),
        });
        route
    }

    fn numbers(count: usize) -> impl Iterator<Item = u128> {
        let mut random = fastrand::Rng::with_seed(7);
        (0..count).map(move |_| random.u128(..))
    }

    #[test]
    fn shares_are_by_weight() {
        let route = route(&[70, 0, 30], 100);
        let mut counts = [0_u32; 3];
        for number in numbers(10_000) {
            let chosen = choose(&route, number).unwrap();
            assert_eq!(choose(&route, number), Some(chosen));
            counts[chosen.0] += 1;
        }
        assert_eq!(counts[1], 0);
        // Five standard deviations.
        assert!(counts[0].abs_diff(7_000) < 230, "{counts:?}");
    }

    #[test]
    fn the_ends_of_the_range_are_in_it() {
        let several = route(&[0, 1, 2, 0], 100);
        assert_eq!(choose(&several, 0), Some(ClusterId(1)));
        assert_eq!(choose(&several, u128::MAX), Some(ClusterId(2)));
        let single = route(&[1], 100);
        assert_eq!(choose(&single, u128::MAX), Some(ClusterId(0)));
        let large = route(&[1_000_000; 16], 100);
        assert_eq!(choose(&large, u128::MAX), Some(ClusterId(15)));
        let origin = single.origin.clone();
        assert_eq!(choose(&Route::tombstone("t".into(), origin), 1), None);
    }

    #[test]
    fn mirrors_get_their_percent_of_each_backend() {
        let route = route(&[1, 1], 10);
        let mut mirrored = [0_u32; 2];
        for number in numbers(20_000) {
            if mirror(&route, number).is_some() {
                mirrored[choose(&route, number).unwrap().0] += 1;
            }
        }
        for count in mirrored {
            assert!(count.abs_diff(1_000) < 150, "{mirrored:?}");
        }
        assert!(mirror(&route, u128::from(u64::MAX)).is_none());
        assert!(mirror(&route, 0).is_some());
    }

    #[test]
    fn all_and_none() {
        let all = route(&[1], 100);
        assert!(numbers(1_000).all(|number| mirror(&all, number).is_some()));
        assert!(mirror(&all, u128::MAX).is_some());
    }
}
