//! Limits as their buckets count, at times of the tests' own.

use super::*;
use palisade_policy::model::Origin;

fn limit(requests: u32, period: Duration, burst: u32) -> (LimitState, Instant) {
    let limit = Limit {
        mode: Mode::Enforce,
        name: "test".into(),
        origin: Origin {
            file: "limits.yaml".into(),
            line: 1,
        },
        key: LimitKey::ClientAddress,
        requests,
        period,
        burst,
        keys_max: 1000,
        fingerprint: 1,
    };
    let start = Instant::now();
    (LimitState::new(&limit, start), start)
}

#[test]
fn a_burst_passes_then_the_rate() {
    let (state, start) = limit(10, Duration::from_secs(1), 5);
    let at = |ms| start + Duration::from_millis(ms);
    for left in (0..5).rev() {
        assert_eq!(state.take(1, at(0)).unwrap().remaining, left);
    }
    let (_, wait) = state.take(1, at(0)).unwrap_err();
    assert_eq!(wait, Duration::from_millis(100));
    assert!(state.take(1, at(99)).is_err());
    assert!(state.take(1, at(100)).is_ok());
    assert!(state.take(1, at(100)).is_err());
    assert_eq!(state.take(1, at(10_000)).unwrap().remaining, 4);
}

#[test]
fn looking_takes_nothing_and_sees_what_taking_would() {
    let (state, start) = limit(10, Duration::from_secs(1), 5);
    let at = |ms| start + Duration::from_millis(ms);
    let shown = |outcome: Result<QuotaState, (QuotaState, Duration)>| match outcome {
        Ok(quota) => (quota.remaining, quota.reset_s, None),
        Err((quota, wait)) => (quota.remaining, quota.reset_s, Some(wait)),
    };
    for ms in [3, 3, 4, 50, 51, 52, 53, 54, 99, 160, 161, 162, 2_000, 2_001] {
        let seen = shown(state.peek(1, at(ms)));
        assert_eq!(shown(state.peek(1, at(ms))), seen, "at {ms}");
        assert_eq!(shown(state.take(1, at(ms))), seen, "at {ms}");
    }
    assert_eq!(state.peek(2, at(2_001)).unwrap().remaining, 4);
    state.buckets.run_pending_tasks();
    assert_eq!(state.keys(), 1, "a look is remembered");
}

#[test]
fn keys_do_not_share() {
    let (state, start) = limit(1, Duration::from_secs(60), 1);
    assert!(state.take(1, start).is_ok());
    assert!(state.take(1, start).is_err());
    assert!(state.take(2, start).is_ok());
}

#[test]
fn the_fields_say_how_much_and_how_long() {
    let (state, start) = limit(10, Duration::from_secs(60), 20);
    assert_eq!(state.policy, "\"test\";q=20;w=120");
    let quota = state.take(1, start).unwrap();
    assert_eq!((quota.remaining, quota.reset_s), (19, 6));
}

#[test]
fn a_clock_that_goes_back_gives_nothing_away() {
    let (state, start) = limit(1, Duration::from_secs(1), 1);
    assert!(state.take(1, start + Duration::from_secs(10)).is_ok());
    assert!(state.take(1, start).is_err());
}

#[test]
fn one_ipv6_subscriber_is_one_client() {
    let key = |text: &str| address_key(text.parse().unwrap());
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
}
