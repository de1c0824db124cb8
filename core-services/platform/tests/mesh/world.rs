//! One trust domain: its authority, its services' keys, its users' tokens.

use std::{
    collections::HashMap,
    sync::{Arc, Once},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use core_platform::{
    clients::{Clients, Route, Target},
    clock,
    config::MeshTls,
    metrics::Metrics,
    service_token::{self, Signer},
    token,
};
use prost_reflect::DescriptorPool;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use serde_json::json;
use tonic::{
    Status,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};
use tonic_types::StatusExt;

use crate::node::Node;

pub(crate) const DOMAIN: &str = "palisade.internal";
pub(crate) const RELAY: &str = "relay.v1.RelayService";
const ISSUER: &str = "https://identity.palisade.internal";
/// All services of these tests.
const SERVICES: [&str; 3] = ["first", "second", "third"];

pub(crate) struct World {
    ca_pem: String,
    ca: Issuer<'static, KeyPair>,
    /// Private keys of the services, PEM.
    keys: HashMap<&'static str, String>,
    user_key: Ed25519KeyPair,
    pub(crate) descriptors: Vec<u8>,
}

impl World {
    pub(crate) fn new() -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            rustls::crypto::aws_lc_rs::default_provider()
                .install_default()
                .unwrap();
        });
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let service_key = |name| {
            let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
            (name, key.serialize_pem())
        };
        Self {
            ca_pem: params.self_signed(&key).unwrap().pem(),
            ca: Issuer::new(params, key),
            keys: SERVICES.into_iter().map(service_key).collect(),
            user_key: Ed25519KeyPair::generate().unwrap(),
            descriptors: descriptors(),
        }
    }

    /// A certificate for `localhost` that names a service.
    pub(crate) fn tls(&self, name: &str) -> MeshTls {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let uri = format!("spiffe://{DOMAIN}/svc/{name}");
        params
            .subject_alt_names
            .push(SanType::URI(uri.try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        MeshTls {
            identity: Identity::from_pem(certificate.pem(), key.serialize_pem()),
            client_ca: Certificate::from_pem(&self.ca_pem),
        }
    }

    pub(crate) fn signer(&self, name: &str) -> Signer {
        Signer::from_pem(DOMAIN, name, self.keys[name].as_bytes()).unwrap()
    }

    /// Checks tokens of all services that are meant for `service`.
    pub(crate) fn service_tokens(&self, service: &str) -> service_token::Verifier {
        let keys: Vec<_> = SERVICES.map(|name| self.signer(name).jwk()).into();
        let document = json!({ "keys": keys }).to_string();
        service_token::Verifier::fixed(DOMAIN, &[service], document.as_bytes()).unwrap()
    }

    pub(crate) fn user_tokens(&self) -> token::Verifier {
        let public = self.user_key.public_key().as_ref().try_into().unwrap();
        token::Verifier::new(ISSUER, "palisade", [("k1".to_owned(), public)]).unwrap()
    }

    /// An `authorization` value of a user who signed in this many seconds ago.
    pub(crate) fn user(&self, signed_in_ago: i64) -> String {
        let now = clock::now().seconds();
        let header = json!({"alg": "EdDSA", "typ": token::TYPE, "kid": "k1"});
        let claims = json!({
            "iss": ISSUER, "aud": "palisade", "nbf": now, "exp": now + 600,
            "sub": "0190a1b2-c3d4-7000-8000-000000000001",
            "sid": "0190a1b2-c3d4-7000-8000-000000000002",
            "auth_time": now - signed_in_ago,
        });
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let signed = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        let signature = self.user_key.sign(signed.as_bytes());
        format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Calls as a service; `route` says where `callee` is.
    pub(crate) fn clients(&self, caller: &str, callee: &str, route: Route) -> Clients {
        self.measured(caller, callee, route, &Arc::new(Metrics::new().unwrap()))
    }

    pub(crate) fn measured(
        &self,
        caller: &str,
        callee: &str,
        route: Route,
        metrics: &Arc<Metrics>,
    ) -> Clients {
        let pool = DescriptorPool::decode(&*self.descriptors).unwrap();
        let routes = HashMap::from([(callee.to_owned(), route)]);
        Clients::new(self.signer(caller), &pool, metrics.clone(), routes).tls(&self.tls(caller))
    }

    /// Calls with a certificate and nothing else, as the edge does.
    pub(crate) fn plain(&self, node: &Node, name: &str) -> tonic::transport::Channel {
        let tls = self.tls(name);
        let config = ClientTlsConfig::new()
            .identity(tls.identity)
            .ca_certificate(tls.client_ca)
            .domain_name("localhost");
        let address = format!("https://localhost:{}", node.address.port());
        let endpoint = Endpoint::new(address).unwrap().tls_config(config).unwrap();
        endpoint.connect_lazy()
    }
}

/// The address of a node.
pub(crate) fn network(node: &Node) -> Route {
    let value = format!("https://localhost:{}", node.address.port());
    Route::Network(Target::parse("x", &value).unwrap())
}

fn descriptors() -> Vec<u8> {
    let root = env!("CARGO_MANIFEST_DIR");
    let folders = [
        format!("{root}/tests/proto"),
        format!("{root}/../proto/proto"),
    ];
    let mut compiler = protox::Compiler::new(folders).unwrap();
    compiler.include_imports(true);
    compiler.open_file("relay.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

/// The `ErrorInfo` reason of a refusal, `ok` without one.
pub(crate) fn reason<T>(answer: &Result<T, Status>) -> String {
    match answer {
        Ok(_) => "ok".to_owned(),
        Err(status) => status
            .get_details_error_info()
            .map_or_else(|| status.to_string(), |info| info.reason),
    }
}
