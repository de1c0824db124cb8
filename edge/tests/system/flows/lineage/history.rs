//! What sixteen clients saw of refresh tokens, and whether it can be true.
//!
//! Invariant of the service, as histories can break it: a token has one successor, whoever asks and
//! however often; once a token's successor has been traded, showing the token again is refused and
//! ends the session for good; nobody's session ends without such a reuse.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

/// The service answers the newest trade again for ten seconds; below, a repeat is no reuse.
const SURELY_IN_GRACE: Duration = Duration::from_secs(8);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// For this successor.
    Traded(String),
    Refused,
    /// No answer of the service: it may have done it or not.
    Unknown,
}

/// One trade as a client saw it.
#[derive(Clone, Debug)]
pub(super) struct Trade {
    /// The sign-in that it all came from.
    pub(super) family: usize,
    pub(super) token: String,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) outcome: Outcome,
}

/// What the history held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    pub(super) families: usize,
    pub(super) trades: usize,
    pub(super) reuses_detected: usize,
    pub(super) unknown: usize,
    /// Tokens of the longest lineage.
    pub(super) longest: usize,
}

/// # Errors
/// The first thing that cannot be true of a service that keeps the invariant.
pub(super) fn judge(history: &[Trade]) -> Result<Findings, String> {
    let mut families: BTreeMap<usize, Vec<&Trade>> = BTreeMap::new();
    for trade in history {
        families.entry(trade.family).or_default().push(trade);
    }
    let mut findings = Findings {
        families: families.len(),
        ..Findings::default()
    };
    for (number, trades) in families {
        let wrong = |what: String| format!("family {number}: {what}");
        let successors = one_lineage(&trades).map_err(wrong)?;
        let reuses = reuses_are_refused(&trades, &successors).map_err(wrong)?;
        no_end_without_reuse(&trades, &successors).map_err(wrong)?;
        findings.trades += trades.len();
        findings.reuses_detected += reuses;
        findings.longest = findings.longest.max(successors.len());
        let unknown = trades
            .iter()
            .filter(|trade| trade.outcome == Outcome::Unknown);
        findings.unknown += unknown.count();
    }
    Ok(findings)
}

/// Each token's only successor.
fn one_lineage<'a>(trades: &[&'a Trade]) -> Result<HashMap<&'a str, &'a str>, String> {
    let mut successors = HashMap::new();
    for trade in trades {
        let Outcome::Traded(successor) = &trade.outcome else {
            continue;
        };
        let known = successors.insert(trade.token.as_str(), successor.as_str());
        if known.is_some_and(|known| known != successor) {
            return Err("one token was traded for two successors".to_owned());
        }
    }
    let distinct: HashSet<_> = successors.values().collect();
    if distinct.len() != successors.len() {
        return Err("two tokens have one successor".to_owned());
    }
    Ok(successors)
}

/// Returns how many there were for certain.
fn reuses_are_refused(
    trades: &[&Trade],
    successors: &HashMap<&str, &str>,
) -> Result<usize, String> {
    // When each token was first known to have been traded.
    let mut traded: HashMap<&str, Instant> = HashMap::new();
    for trade in trades {
        if matches!(trade.outcome, Outcome::Traded(_)) {
            let first = traded.entry(&trade.token).or_insert(trade.ended);
            *first = (*first).min(trade.ended);
        }
    }
    let is_reuse = |trade: &Trade| {
        let successor = successors.get(trade.token.as_str());
        let spent = successor.and_then(|successor| traded.get(successor));
        spent.is_some_and(|spent| *spent < trade.began)
    };
    let reuses: Vec<_> = trades.iter().filter(|trade| is_reuse(trade)).collect();
    if reuses
        .iter()
        .any(|trade| matches!(trade.outcome, Outcome::Traded(_)))
    {
        return Err("a token worked after its successor had been traded".to_owned());
    }
    let refused = reuses
        .iter()
        .filter(|trade| trade.outcome == Outcome::Refused);
    if let Some(over) = refused.clone().map(|trade| trade.ended).min() {
        let lives =
            |trade: &&&Trade| trade.began > over && matches!(trade.outcome, Outcome::Traded(_));
        if trades.iter().any(|trade| lives(&trade)) {
            return Err("a token worked after a reuse had been refused".to_owned());
        }
    }
    Ok(refused.count())
}

fn no_end_without_reuse(trades: &[&Trade], successors: &HashMap<&str, &str>) -> Result<(), String> {
    let first_refusal = trades
        .iter()
        .filter(|trade| trade.outcome == Outcome::Refused)
        .map(|trade| trade.ended)
        .min();
    let Some(refused) = first_refusal else {
        return Ok(());
    };
    // Each may have been a reuse if the service took it last of all that overlapped it.
    let may_be_reuse = |trade: &&&Trade| {
        let successor = successors.get(trade.token.as_str());
        let spent = trades
            .iter()
            .any(|other| Some(&other.token.as_str()) == successor && other.began < trade.ended);
        let late = trades
            .iter()
            .any(|other| other.token == trade.token && other.began + SURELY_IN_GRACE < trade.ended);
        spent || late
    };
    let before = trades.iter().filter(|trade| trade.began < refused);
    if before.into_iter().any(|trade| may_be_reuse(&trade)) {
        return Ok(());
    }
    Err("the session ended, and nobody had used a token twice".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trades in milliseconds: token, from, to, outcome.
    fn history(trades: &[(&str, u64, u64, Outcome)]) -> Vec<Trade> {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let trade = |(token, from, to, outcome): &(&str, u64, u64, Outcome)| Trade {
            family: 0,
            token: (*token).to_owned(),
            began: at(*from),
            ended: at(*to),
            outcome: outcome.clone(),
        };
        trades.iter().map(trade).collect()
    }

    fn to(successor: &str) -> Outcome {
        Outcome::Traded(successor.to_owned())
    }

    #[test]
    fn what_the_service_promises_is_accepted() {
        let told = history(&[
            ("a", 0, 10, to("b")),
            ("a", 5, 12, to("b")),
            ("b", 15, 20, Outcome::Unknown),
            ("b", 30, 40, to("c")),
            ("a", 50, 60, Outcome::Refused),
            ("c", 61, 70, Outcome::Refused),
        ]);
        let findings = judge(&told).expect("nothing wrong");
        assert_eq!((findings.reuses_detected, findings.unknown), (1, 1));
        assert_eq!((findings.trades, findings.longest), (6, 2));
    }

    #[test]
    fn what_it_forbids_is_found() {
        let cases = [
            (
                vec![("a", 0, 10, to("b")), ("a", 5, 12, to("c"))],
                "two successors",
            ),
            (
                vec![("a", 0, 10, to("b")), ("c", 5, 12, to("b"))],
                "one successor",
            ),
            (
                vec![
                    ("a", 0, 10, to("b")),
                    ("b", 11, 20, to("c")),
                    ("a", 21, 30, to("b")),
                ],
                "after its successor",
            ),
            (
                vec![
                    ("a", 0, 10, to("b")),
                    ("b", 11, 20, to("c")),
                    ("a", 21, 30, Outcome::Refused),
                    ("c", 31, 40, to("d")),
                ],
                "after a reuse",
            ),
            (
                vec![("a", 0, 10, to("b")), ("b", 11, 20, Outcome::Refused)],
                "nobody had used",
            ),
        ];
        for (trades, expected) in cases {
            let found = judge(&history(&trades)).expect_err(expected);
            assert!(found.contains(expected), "{found}");
        }
    }
}
