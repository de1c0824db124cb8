//! What expressions can ask about a request, made into values only when they do.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp,
    CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Json};

/// A request as expressions see it.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub method: &'a str,
    /// Canonical.
    pub path: &'a str,
    pub host: &'a str,
    /// `https` or `http`.
    pub scheme: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub client: IpAddr,
    /// Of the verified token.
    pub claims: Option<&'a Map<String, Json>>,
    pub subject: Option<&'a str>,
    pub scopes: &'a [String],
    pub roles: &'a [String],
    /// Of the match's path: name and text.
    pub captures: &'a [(&'a str, &'a str)],
    /// Seconds since the epoch.
    pub now: u64,
}

type Boxed<'a> = Box<dyn Val + 'a>;

/// Each map is made once for one decision, and only if it is asked for.
pub(super) struct Lazy<'a> {
    facts: &'a Facts<'a>,
    headers: OnceLock<CelMap<'a>>,
    query: OnceLock<CelMap<'a>>,
    claims: OnceLock<CelMap<'a>>,
    is_ambiguous: AtomicBool,
}

impl<'a> Lazy<'a> {
    pub(super) fn new(facts: &'a Facts<'a>) -> Self {
        Self {
            facts,
            headers: OnceLock::new(),
            query: OnceLock::new(),
            claims: OnceLock::new(),
            is_ambiguous: AtomicBool::new(false),
        }
    }

    /// Why two readers could read what was asked for differently.
    pub(super) fn ambiguous(&self) -> Option<String> {
        let ambiguous = self.is_ambiguous.load(Ordering::Relaxed);
        ambiguous.then(|| "a parameter of the query is given twice".to_owned())
    }

    /// Several fields of one name are one list (RFC 9110, 5.3). What is no text stays visible.
    fn headers(&self) -> &CelMap<'a> {
        self.headers.get_or_init(|| {
            let headers = self.facts.headers;
            let mut map = HashMap::with_capacity(headers.keys_len());
            for name in headers.keys() {
                let mut values = headers.get_all(name).iter();
                let first = values
                    .next()
                    .map(|value| value.as_bytes())
                    .unwrap_or_default();
                let mut text = String::from_utf8_lossy(first);
                for value in values {
                    let next = String::from_utf8_lossy(value.as_bytes());
                    text = Cow::Owned(format!("{text}, {next}"));
                }
                map.insert(CelMapKey::from(name.as_str()), boxed(CelString::from(text)));
            }
            map.into()
        })
    }

    /// Which of two values of one name counts is read differently by every program.
    fn query(&self) -> &CelMap<'a> {
        self.query.get_or_init(|| {
            let decode = |text: &'a str| percent_decode_str(text).decode_utf8_lossy();
            let mut map = HashMap::new();
            let pairs = self.facts.query.unwrap_or("").split('&');
            for pair in pairs.filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let name = CelMapKey::String(decode(name).into());
                if map
                    .insert(name, boxed(CelString::from(decode(value))))
                    .is_some()
                {
                    self.is_ambiguous.store(true, Ordering::Relaxed);
                }
            }
            map.into()
        })
    }

    fn claims(&self) -> &CelMap<'a> {
        self.claims.get_or_init(|| match self.facts.claims {
            Some(claims) => self.object(claims),
            None => HashMap::new().into(),
        })
    }

    fn object(&self, object: &'a Map<String, Json>) -> CelMap<'a> {
        let entries = object.iter();
        let entries = entries.map(|(name, json)| (CelMapKey::from(name.as_str()), self.json(json)));
        entries.collect::<HashMap<_, _>>().into()
    }

    /// As deep as the parser of tokens lets it be.
    fn json(&self, json: &'a Json) -> Boxed<'a> {
        match json {
            Json::Null => boxed(CelNull),
            Json::Bool(truth) => boxed(CelBool::from(*truth)),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), ..) => boxed(CelInt::from(number)),
                (_, Some(number), _) => boxed(CelUInt::from(number)),
                (.., Some(number)) => boxed(CelDouble::from(number)),
                _ => boxed(CelNull),
            },
            Json::String(text) => boxed(CelString::from(text.as_str())),
            Json::Array(items) => {
                let items: Vec<Boxed<'a>> = items.iter().map(|item| self.json(item)).collect();
                boxed(CelList::from(items))
            }
            Json::Object(object) => boxed(self.object(object)),
        }
    }

    fn texts(&self, texts: &'a [String]) -> Boxed<'a> {
        let texts = texts.iter().map(|text| self.text(text));
        boxed(CelList::from(texts.collect::<Vec<_>>()))
    }

    fn text(&self, text: &'a str) -> Boxed<'a> {
        boxed(CelString::from(text))
    }

    fn captures(&self) -> Boxed<'a> {
        let captures = self.facts.captures.iter();
        let entries = captures.map(|(name, text)| (CelMapKey::from(*name), self.text(text)));
        boxed(CelMap::from(entries.collect::<HashMap<_, _>>()))
    }

    fn now(&self) -> Option<Boxed<'a>> {
        let seconds = i64::try_from(self.facts.now).ok()?;
        let now = chrono::DateTime::from_timestamp(seconds, 0)?;
        Some(boxed(CelTimestamp::from(now.fixed_offset())))
    }

    /// Only `has(…)` looks at these as a whole.
    fn group(&self, name: &str) -> Boxed<'_> {
        let members: &[&str] = match name {
            "request" => &["method", "path", "host", "scheme", "query", "headers"],
            "client" => &["address"],
            _ => &["subject", "scopes", "roles"],
        };
        let mut map = HashMap::with_capacity(members.len());
        for member in members {
            if let Some(value) = self.resolve(&format!("{name}.{member}")) {
                map.insert(CelMapKey::from((*member).to_owned()), value.into_owned());
            }
        }
        boxed(CelMap::from(map))
    }
}

fn boxed<'a>(value: impl Val + 'a) -> Boxed<'a> {
    Box::new(value)
}

impl VariableResolver for Lazy<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let facts = self.facts;
        Some(CowVal::Owned(match name {
            "request.method" => self.text(facts.method),
            "request.path" => self.text(facts.path),
            "request.host" => self.text(facts.host),
            "request.scheme" => self.text(facts.scheme),
            "request.headers" => return Some(CowVal::Borrowed(self.headers())),
            "request.query" => return Some(CowVal::Borrowed(self.query())),
            "claims" => return Some(CowVal::Borrowed(self.claims())),
            "client.address" => boxed(CelString::from(facts.client.to_canonical().to_string())),
            "caller.subject" => self.text(facts.subject?),
            "caller.scopes" => self.texts(facts.scopes),
            "caller.roles" => self.texts(facts.roles),
            "path" => self.captures(),
            "now" => self.now()?,
            "request" | "client" | "caller" => self.group(name),
            _ => return None,
        }))
    }
}
