//! Rules and requests in a few words, for the tables of the tests.

use http::{HeaderMap, HeaderName, HeaderValue};
use palisade_token::UnixTime;

use crate::model::{
    AddressSet, Auth, CertificateMatch, Credential, IssuerId, Mode, Origin, ValueMatch,
};
use crate::routing::*;

/// One that takes tokens.
pub(super) fn route(name: &str) -> Arc<Route> {
    let origin = Origin {
        file: "test.yaml".into(),
        line: 1,
    };
    let auth = Auth {
        key_headers: Vec::new(),
        trades_keys: false,
        any_of: vec![Credential::Jwt(IssuerId(0))],
        mode: Mode::Enforce,
        optional: true,
        scopes: Vec::new(),
        roles: Vec::new(),
        claim_headers: Vec::new(),
        forward_token: false,
    };
    Arc::new(Route {
        auth: Some(auth),
        ..Route::tombstone(name.into(), origin)
    })
}

/// `= /exact`, `^ /prefix`, `~ /tem/{plate}` or `% /reg[ex]`.
pub(super) fn path(text: &str) -> PathMatch {
    match text.split_once(' ').unwrap() {
        ("=", path) => PathMatch::Exact(path.to_owned()),
        ("^", path) => PathMatch::Prefix(path.to_owned()),
        ("%", path) => PathMatch::Regex(Regex::of_path(path).unwrap()),
        (_, path) => PathMatch::Template(
            path.split('/')
                .skip(1)
                .map(|part| match part.strip_prefix('{') {
                    Some(name) => Segment::Capture(name.trim_end_matches('}').to_owned()),
                    None => Segment::Literal(part.to_owned()),
                })
                .collect(),
        ),
    }
}

fn host(text: &str) -> HostMatch {
    match text.strip_prefix('*') {
        Some("") => HostMatch::Any,
        Some(suffix) => HostMatch::Wildcard(suffix.to_owned()),
        None => HostMatch::Exact(text.to_owned()),
    }
}

/// `v`, `v*`, `*v`, `/regex/`, or any where there is none.
fn value(text: Option<&str>) -> ValueMatch {
    let Some(text) = text else {
        return ValueMatch::Present;
    };
    if let Some(regex) = text
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix('/'))
    {
        return ValueMatch::Regex(Regex::of_value(regex).unwrap());
    }
    match (text.strip_prefix('*'), text.strip_suffix('*')) {
        (Some(suffix), _) => ValueMatch::Suffix(suffix.to_owned()),
        (_, Some(prefix)) => ValueMatch::Prefix(prefix.to_owned()),
        _ => ValueMatch::Exact(text.to_owned()),
    }
}

/// `GET`, `x-a` or `x-a:v`, `?q` or `?q=v`, `@10.0.0.0/8`, `#claim` or `#claim=v`, `$subject`;
/// `!` in front of one is its opposite, `a|b` is one of them, `a&b` is both.
fn condition(conditions: &mut Conditions, word: &str) {
    let nested = |word: &str| {
        let mut nested = Conditions::default();
        condition(&mut nested, word);
        nested
    };
    let pair = |text: &str, at: char| {
        let (name, wanted) = text
            .split_once(at)
            .map_or((text, None), |(n, v)| (n, Some(v)));
        (name.to_owned(), value(wanted))
    };
    if let Some(not) = word.strip_prefix('!') {
        conditions.not = Some(Box::new(nested(not)));
    } else if word.contains('|') {
        conditions.any = word.split('|').map(nested).collect();
    } else if word.contains('&') {
        conditions.all = word.split('&').map(nested).collect();
    } else if let Some(query) = word.strip_prefix('?') {
        conditions.query.push(pair(query, '='));
    } else if let Some(claim) = word.strip_prefix('#') {
        conditions.claims.push(pair(claim, '='));
    } else if let Some(range) = word.strip_prefix('@') {
        let set = AddressSet::of([range.parse().unwrap()]);
        conditions.client_addresses = Some(Arc::new(set));
    } else if let Some(subject) = word.strip_prefix('$') {
        conditions.client_certificate = Some(CertificateMatch {
            subject: Some(value(Some(subject))),
            ..CertificateMatch::default()
        });
    } else if word.starts_with("x-") {
        let (name, wanted) = pair(word, ':');
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        conditions.headers.push((name, wanted));
    } else {
        conditions.methods.push(word.parse().unwrap());
    }
}

/// A rule called `name`: host, path, then conditions.
pub(super) fn rule(name: &str, text: &str) -> Rule {
    let mut words = text.split("; ");
    let hosts = vec![host(words.next().unwrap())];
    let path = path(words.next().unwrap());
    let mut conditions = Conditions::default();
    for word in words {
        condition(&mut conditions, word);
    }
    Rule {
        hosts,
        path,
        conditions,
        route: route(name),
    }
}

pub(super) type Headers<'a> = &'a [(&'a str, &'a str)];

/// A request from 10.0.0.1 with a certificate of `CN=a,O=b`, and a token where claims are set.
#[derive(Debug)]
pub(super) struct Asked {
    method: Method,
    host: String,
    pub(super) path: String,
    query: Option<String>,
    headers: HeaderMap,
    client: IpAddr,
    claims: Option<Arc<Claims>>,
}

impl Asked {
    /// `METHOD host path?query` and header lines; one called `claim:NAME` is a claim, and one called
    /// `client` the address.
    pub(super) fn new(text: &str, lines: Headers<'_>) -> Self {
        let mut words = text.split(' ');
        let method = words.next().unwrap().parse().unwrap();
        let host = words.next().unwrap().to_owned();
        let target = words.next().unwrap();
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(p, q)| (p, Some(q.to_owned())));
        let mut asked = Self {
            method,
            host,
            path: path.to_owned(),
            query,
            headers: HeaderMap::new(),
            client: "10.0.0.1".parse().unwrap(),
            claims: None,
        };
        let mut claims = serde_json::Map::new();
        for (name, value) in lines {
            if let Some(claim) = name.strip_prefix("claim:") {
                claims.insert(claim.to_owned(), serde_json::from_str(value).unwrap());
            } else if *name == "client" {
                asked.client = value.parse().unwrap();
            } else {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                asked
                    .headers
                    .append(name, HeaderValue::from_str(value).unwrap());
            }
        }
        if !claims.is_empty() {
            asked.claims = Some(Arc::new(Claims {
                subject: None,
                issuer: "id".to_owned(),
                scopes: Vec::new(),
                roles: Vec::new(),
                expires_at: UnixTime::from_secs(0),
                not_before: None,
                raw: claims,
            }));
        }
        asked
    }

    pub(super) fn ask<T>(&self, ask: impl FnOnce(Request<'_>) -> T) -> T {
        ask(Request {
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: &self.method,
            headers: &self.headers,
            client: self.client,
            certificate: Some(Certificate {
                subject: "CN=a,O=b",
                sans: &[],
                sha256: &[7; 32],
            }),
            claims: &|_| self.claims.clone(),
        })
    }
}
