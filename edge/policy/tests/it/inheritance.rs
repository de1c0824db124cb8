//! What a route inherits, where it comes from, and which word wins.

use std::sync::Arc;

use palisade_policy::Loaded;
use palisade_policy::model::Route;

use crate::folder::Scratch;

const POLICY: &str = r#"version: 1
defaults:
  request_timeout: 10s
  request_body_max: 1KiB
hosts:
  - name: api
    hosts: [api.example.com]
    defaults:
      request_timeout: 20s
clusters: [{ name: c, endpoints: ["127.0.0.1:1"] }]
routes:
  - name: r
    matches: [{ path: / }]
    request_body_max: 2KiB
    cluster: c
"#;

fn load() -> Loaded {
    let loaded = Scratch::with(&[("policy.yaml", POLICY)]).load();
    loaded.unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// Key and line of each setting.
fn lines(route: &Route) -> Vec<(&'static str, u32)> {
    let settings = route.settings.iter();
    settings
        .map(|setting| (setting.key, setting.origin.line))
        .collect()
}

#[test]
fn the_nearest_word_wins_and_says_where_it_is() {
    let loaded = load();
    let route = loaded.policy.routes.routes().next().unwrap();
    let api = route.under(loaded.policy.hosts.find("api.example.com").id);
    let other = route.under(loaded.policy.hosts.find("other.example.com").id);
    assert!(Arc::ptr_eq(other, route));
    assert_eq!(
        lines(other),
        [("request_timeout", 3), ("request_body_max", 14)]
    );
    assert_eq!(
        lines(api),
        [("request_timeout", 9), ("request_body_max", 14)]
    );
    assert_eq!(
        (
            other.request_timeout.unwrap().as_secs(),
            other.request_body_max
        ),
        (10, 2048)
    );
    assert_eq!(
        (api.request_timeout.unwrap().as_secs(), api.request_body_max),
        (20, 2048)
    );
    assert_eq!((&api.name, &api.origin), (&route.name, &route.origin));
}

/// Metrics, lists and limits see one route, however many hosts it is compiled for.
#[test]
fn a_route_stays_one_route() {
    let loaded = load();
    assert_eq!(loaded.policy.routes.routes().count(), 1);
    assert!(
        loaded.summary().starts_with("1 route,"),
        "{}",
        loaded.summary()
    );
    let route = loaded.policy.routes.routes().next().unwrap();
    assert_eq!(route.all().count(), 2);
}

/// A thousand hosts with defaults and a thousand routes for all of them: a bound, not a swamp.
#[test]
fn variants_have_a_bound() {
    let mut text =
        String::from("version: 1\nclusters: [{ name: c, endpoints: [\"127.0.0.1:1\"] }]\nhosts:\n");
    for host in 0..1_000 {
        text.push_str(&format!(
            "  - {{ name: h{host}, hosts: [h{host}.example], defaults: {{ cache: {{}} }} }}\n"
        ));
    }
    text.push_str("routes:\n");
    for route in 0..101 {
        text.push_str(&format!(
            "  - {{ name: r{route}, matches: [{{ path: /{route} }}], cluster: c }}\n"
        ));
    }
    let Err(diagnostics) = Scratch::with(&[("policy.yaml", &text)]).load() else {
        panic!("101,000 variants were compiled")
    };
    assert_eq!(diagnostics.0.len(), 1, "{diagnostics}");
    assert_eq!(diagnostics.0[0].code, "P002");
}
