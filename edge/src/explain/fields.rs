//! Two header blocks: what was added, changed and removed on the way from one to the other.

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::explanation::{Change, FieldChange};

/// Fields whose values let somebody in.
const CREDENTIALS: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// In alphabetical order.
pub(super) fn changes(before: &HeaderMap, after: &HeaderMap) -> Vec<FieldChange> {
    let mut names: Vec<&HeaderName> = before.keys().chain(after.keys()).collect();
    names.sort_by_key(|name| name.as_str());
    names.dedup();
    let changed =
        |name: &&HeaderName| !before.get_all(*name).iter().eq(after.get_all(*name).iter());
    let names = names.into_iter().filter(changed);
    let change = |name: &HeaderName| FieldChange {
        change: match (before.contains_key(name), after.contains_key(name)) {
            (false, _) => Change::Added,
            (true, true) => Change::Changed,
            (true, false) => Change::Removed,
        },
        name: name.to_string(),
        value: shown(name, after),
    };
    names.map(change).collect()
}

/// The values of a field in one line.
pub(super) fn shown(name: &HeaderName, headers: &HeaderMap) -> String {
    let values = headers.get_all(name).iter();
    let values: Vec<String> = values.map(|value| one(name, value)).collect();
    values.join(", ")
}

fn one(name: &HeaderName, value: &HeaderValue) -> String {
    if CREDENTIALS.contains(name) || value.is_sensitive() {
        return "(not shown)".to_owned();
    }
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Every field with its values, in order of names.
pub(super) fn all(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut names: Vec<&HeaderName> = headers.keys().collect();
    names.sort_by_key(|name| name.as_str());
    let pairs = names.into_iter();
    pairs
        .map(|name| (name.to_string(), shown(name, headers)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change() {
        let headers = |fields: &[(&'static str, &'static str)]| {
            let fields = fields.iter().map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            fields.collect::<HeaderMap>()
        };
        let before = headers(&[
            ("a", "1"),
            ("b", "1"),
            ("c", "1"),
            ("authorization", "secret"),
        ]);
        let after = headers(&[
            ("a", "1"),
            ("b", "2"),
            ("d", "1"),
            ("authorization", "other"),
        ]);
        let found: Vec<String> = changes(&before, &after)
            .iter()
            .map(|change| format!("{:?} {} {}", change.change, change.name, change.value))
            .collect();
        assert_eq!(
            found,
            [
                "Changed authorization (not shown)",
                "Changed b 2",
                "Removed c ",
                "Added d 1"
            ]
        );
    }
}
