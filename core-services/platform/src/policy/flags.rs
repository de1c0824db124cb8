//! Feature flags: for nobody, for everybody, for a share of the users, or for some.
//! Invariant: a user is in or out of a share on every replica alike, and stays in
//! while the share grows.
//! Refuses to decide about a flag that nobody wrote down: it is off.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, digest};
use palisade_documents::{
    codes,
    decode::Versioned,
    diagnostic::{Fault, shown},
    field::{At, Field, List, items},
    report::Report,
};
use serde::Deserialize;
use uuid::Uuid;

use super::load::{is_name, missing};

/// Hundredths of a percent: fine enough to begin with one user of ten thousand.
const BUCKETS: u64 = 10_000;
/// A longer list is a share, or a role.
const USERS_MAX: usize = 1_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Document {
    version: Field<u64>,
    flags: List<FlagDoc>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FlagDoc {
    name: Field<String>,
    /// For those who read the file.
    #[allow(dead_code, reason = "part of the language, and for people only")]
    description: Field<String>,
    state: Field<State>,
    /// Of the users, 0 to 100.
    percentage: Field<u64>,
    /// For whom it is on whatever the percentage.
    users: List<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    On,
    Off,
}

impl Versioned for Document {
    fn version(&self) -> &Field<u64> {
        &self.version
    }
}

/// The flags in force, by name.
#[derive(Debug, Default)]
pub struct Flags(BTreeMap<String, Rule>);

#[derive(Debug, PartialEq, Eq)]
enum Rule {
    Everybody,
    Nobody,
    Some {
        /// Of `BUCKETS`.
        share: u64,
        users: BTreeSet<Uuid>,
    },
}

impl Flags {
    /// Is it on for this user? Without one it is on only if it is for everybody.
    pub fn enabled(&self, name: &str, user: Option<Uuid>) -> bool {
        match self.0.get(name) {
            None | Some(Rule::Nobody) => false,
            Some(Rule::Everybody) => true,
            Some(Rule::Some { share, users }) => user.is_some_and(|user| {
                *share == BUCKETS || users.contains(&user) || bucket(name, user) < *share
            }),
        }
    }

    /// What is written, faults to `report`.
    pub(super) fn compile(document: &Document, report: &mut Report) -> Self {
        let mut flags = BTreeMap::new();
        for at in items(&document.flags) {
            let Some(name) = missing(&at.value.name, at.mark, "flag", "name", report) else {
                continue;
            };
            if !is_name(name, "flag", report) {
                continue;
            }
            if flags.contains_key(&name.value) {
                let message = format!("the flag {} is there twice", shown(&name.value));
                report.push(name.mark, Fault::new(codes::DEFINED_TWICE, message));
                continue;
            }
            let rule = rule(at, report).unwrap_or(Rule::Nobody);
            flags.insert(name.value.clone(), rule);
        }
        Self(flags)
    }
}

fn rule(at: &At<FlagDoc>, report: &mut Report) -> Option<Rule> {
    let flag = &at.value;
    let is_partial = !flag.percentage.is_absent() || !flag.users.is_absent();
    if flag.state.is_absent() && !is_partial {
        let fault = Fault::new(codes::MISSING, "the flag does not say for whom it is on");
        let fault =
            fault.hint("write `state: on`, `state: off`, `percentage: 10` or `users: [...]`");
        report.push(at.mark, fault);
        return None;
    }
    if let Some(state) = flag.state.given() {
        if is_partial {
            let fault = Fault::new(
                codes::CONTRADICTION,
                "a `state` is for everybody: `percentage` and `users` have no effect",
            );
            report.push(state.mark, fault.hint("leave `state` out"));
        }
        return Some(match state.value {
            State::On => Rule::Everybody,
            State::Off => Rule::Nobody,
        });
    }
    let percentage = flag.percentage.given().map_or(0, |percentage| {
        if percentage.value > 100 {
            let message = format!("`{}` is not within `0` and `100`", percentage.value);
            report.push(percentage.mark, Fault::new(codes::OUT_OF_RANGE, message));
        }
        percentage.value.min(100)
    });
    Some(Rule::Some {
        share: percentage * (BUCKETS / 100),
        users: users(flag, report),
    })
}

fn users(flag: &FlagDoc, report: &mut Report) -> BTreeSet<Uuid> {
    if let Some(list) = flag.users.given()
        && list.value.len() > USERS_MAX
    {
        let message = format!("more than {USERS_MAX} users");
        let fault = Fault::new(codes::TOO_MUCH, message).hint("use a percentage");
        report.push(list.mark, fault);
    }
    let mut users = BTreeSet::new();
    for user in items(&flag.users) {
        match Uuid::try_parse(&user.value) {
            Ok(id) => _ = users.insert(id),
            Err(_) => {
                let message = format!("{} is not the id of a user", shown(&user.value));
                let hint = "such as 01890a5d-ac96-774b-bcce-b302099a8057";
                report.push(user.mark, Fault::new(codes::TEXT, message).hint(hint));
            }
        }
    }
    users
}

/// The flag's name is part of it: else the same users would try out everything.
fn bucket(name: &str, user: Uuid) -> u64 {
    let hash = digest(&SHA256, &[name.as_bytes(), &[0], user.as_bytes()].concat());
    let first = hash.as_ref().iter().take(8);
    first.fold(0, |number: u64, byte| number << 8 | u64::from(*byte)) % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(percent: u64) -> Flags {
        let rule = Rule::Some {
            share: percent * 100,
            users: BTreeSet::new(),
        };
        Flags([("new-feed".to_owned(), rule)].into())
    }

    #[test]
    fn a_share_is_about_as_large_as_it_says_and_grows_by_adding() {
        let users: Vec<Uuid> = (0..2_000).map(Uuid::from_u128).collect();
        let on = |percent| {
            let flags = share(percent);
            let on = users
                .iter()
                .filter(|user| flags.enabled("new-feed", Some(**user)));
            on.copied().collect::<BTreeSet<_>>()
        };
        let (none, ten, half, all) = (on(0), on(10), on(50), on(100));
        assert_eq!((none.len(), all.len()), (0, users.len()));
        assert!((140..260).contains(&ten.len()), "{}", ten.len());
        assert!((880..1_120).contains(&half.len()), "{}", half.len());
        assert!(ten.is_subset(&half));
    }

    #[test]
    fn the_bucket_of_a_user_is_the_same_for_ever() {
        // Another version of this program must not swap the users of a running trial.
        let user = Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057);
        assert_eq!(bucket("new-feed", user), BUCKET_OF_EXAMPLE);
        assert_ne!(bucket("other", user), BUCKET_OF_EXAMPLE);
    }

    /// sha256(b"new-feed\0" + user), first 8 bytes, modulo 10,000.
    const BUCKET_OF_EXAMPLE: u64 = 3_763;

    #[test]
    fn without_a_user_only_what_is_for_everybody_is_on() {
        assert!(!share(50).enabled("new-feed", None));
        assert!(!share(100).enabled("new-feed", None));
        assert!(!share(100).enabled("unknown", Some(Uuid::nil())));
        let flags = Flags([("x".to_owned(), Rule::Everybody)].into());
        assert!(flags.enabled("x", None));
    }
}
