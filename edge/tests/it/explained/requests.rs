//! Requests at random, over everything that the policy beside this file decides by.

use palisade_edge::explain::Question;
use serde_json::json;

use crate::harness::tokens::Signer;

/// What is sent, and what is asked about it.
#[derive(Debug, Clone)]
pub(super) struct Generated {
    pub(super) encrypted: bool,
    pub(super) method: &'static str,
    pub(super) target: String,
    /// None: as the connection names it.
    pub(super) host: Option<&'static str>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body_bytes: usize,
}

const METHODS: [&str; 9] = [
    "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS",
];
const HOSTS: [&str; 6] = [
    "localhost",
    "api.example",
    "deep.api.example",
    "API.example.",
    "old.example",
    "other.example:8443",
];
const PATHS: [&str; 36] = [
    "/",
    "//",
    "/files",
    "/files/a",
    "/files//a",
    "/files/%61",
    "/filesystem",
    "/files/admin",
    "/files/admin/x",
    "/files/%61dmin",
    "/items",
    "/items/7",
    "/items/7%20a",
    "/items/7/more",
    "/items/",
    "/items/%2e%2e",
    "/items/a%2Fb",
    "/items/a;b",
    "/items/..",
    "/search",
    "/search?q=a",
    "/search?q",
    "/search?x=q",
    "/search?%71=a",
    "/v1/a",
    "/v12/a/b?c=d",
    "/v/a",
    "/gold",
    "/gold/",
    "/pkg.Service/Do",
    "/pkg.Service",
    "/nothing",
    "/shares/a",
    "/shares",
    "/moved/a?b=c",
    "/hello",
];

fn one<'a, T: ?Sized>(random: &mut fastrand::Rng, of: &[&'a T]) -> &'a T {
    random.choice(of).expect("not empty")
}

/// Where a client is, as a trusted proxy tells it.
fn address(random: &mut fastrand::Rng) -> String {
    match random.u8(..4) {
        0 => format!("10.{}.0.1", random.u8(..)),
        1 => format!("2001:db8::{:x}", random.u16(..)),
        2 => "nonsense".to_owned(),
        _ => format!("192.0.2.{}", random.u8(..)),
    }
}

/// Good ones of every kind, and bad ones; signed once, because that is what takes time.
pub(super) fn tokens(signer: &Signer) -> Vec<String> {
    let stranger = Signer::new("other");
    vec![
        signer.bearer(json!({})),
        signer.bearer(json!({ "scope": "write" })),
        signer.bearer(json!({ "scope": "admin write", "roles": ["owner"] })),
        signer.bearer(json!({ "scope": "admin", "roles": ["guest"] })),
        signer.bearer(json!({ "tier": "gold", "sub": "u2" })),
        signer.bearer(json!({ "tier": "silver" })),
        signer.bearer(json!({ "exp": 1_000_000_000 })),
        signer.bearer(json!({ "aud": "somebody" })),
        signer.bearer(json!({ "iss": "https://other.test" })),
        stranger.bearer(json!({ "scope": "admin write" })),
        "Bearer nonsense".to_owned(),
        "Basic dTpw".to_owned(),
    ]
}

pub(super) fn request(random: &mut fastrand::Rng, tokens: &[String]) -> Generated {
    let mut headers = Vec::new();
    if random.u8(..10) < 6 {
        headers.push((
            "authorization",
            random.choice(tokens).expect("tokens").clone(),
        ));
    }
    if random.u8(..3) == 0 {
        headers.push(("x-forwarded-for", address(random)));
    }
    let fields = [
        ("x-forwarded-proto", ["https", "http", "ftp"]),
        ("x-beta", ["1", "2", "11"]),
        ("x-bot", ["1", "yes", "no"]),
        ("x-key", ["a", "b", "c"]),
        ("x-user-id", ["root", "u1", "u2"]),
        ("cache-control", ["no-cache", "max-age=0", "max-age=5"]),
        (
            "content-type",
            [
                "application/grpc",
                "application/json",
                "application/grpc+proto",
            ],
        ),
    ];
    for (name, values) in fields {
        if random.u8(..6) == 0 {
            headers.push((name, one(random, &values).to_owned()));
        }
    }
    let method = one(random, &METHODS);
    let takes_body = matches!(method, "POST" | "PUT");
    Generated {
        encrypted: random.u8(..4) > 0,
        method,
        target: one(random, &PATHS).to_owned(),
        host: (random.bool()).then(|| one(random, &HOSTS)),
        headers,
        body_bytes: if takes_body {
            *random.choice(&[0, 10, 1024, 1025, 4000]).expect("sizes")
        } else {
            0
        },
    }
}

impl Generated {
    pub(super) fn is_grpc(&self) -> bool {
        let grpc = |(name, value): &(&str, String)| {
            *name == "content-type" && value.starts_with("application/grpc")
        };
        self.headers.iter().any(grpc)
    }

    /// With the id that it has, or had.
    pub(super) fn question(&self, request_id: &str) -> Question {
        let scheme = if self.encrypted { "https" } else { "http" };
        let host = self.host.unwrap_or("localhost");
        let mut headers: Vec<(String, String)> = self
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        if self.body_bytes > 0 {
            headers.push(("content-length".to_owned(), self.body_bytes.to_string()));
        }
        Question {
            method: self.method.to_owned(),
            url: format!("{scheme}://localhost{}", self.target),
            headers: [headers, vec![("host".to_owned(), host.to_owned())]].concat(),
            request_id: Some(request_id.to_owned()),
            ..Question::default()
        }
    }
}
