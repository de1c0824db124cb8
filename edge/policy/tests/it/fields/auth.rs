//! Credentials and access rules: each key changes the model.

use super::Section;

pub(super) const SECTION: Section = Section {
    base: r#"
version: 1
clusters:
  - name: core
    endpoints: ["127.0.0.1:1"]
  - name: identity
    endpoints: ["127.0.0.1:2"]
    protocol: grpc
  - name: other
    endpoints: ["127.0.0.1:3"]
    protocol: grpc
issuers:
  - name: id
    issuer: id
    audiences: [a]
    jwks: {file: a.json}
    algorithms: [EdDSA]
    revocations: {cluster: identity}
  - name: second
    issuer: second
    audiences: [a]
    jwks: {file: a.json}
    algorithms: [EdDSA]
api_keys:
  - {name: traded, introspect: {cluster: identity, issuer: id}}
  - name: keys
    keys: [{name: acme, sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}]
access:
  - name: rule
    client_addresses: [10.0.0.0/8]
    client_certificate: {subject: CN=a}
limits:
  - name: l
    key: client_address
    rate: 10/s
routes:
  - name: one
    matches: [{path: /one}]
    auth: {any_of: [{issuer: id}, {api_keys: keys}, {client_certificate: {subject: CN=b}}]}
    limits: [l]
    cluster: core
  - name: two
    matches: [{path: /two}]
    auth: {api_keys: keys}
    cluster: core
"#,
    changes: &[
        ("Document.api_keys", "{name: acme,", "{name: other,"),
        ("Document.access", "[10.0.0.0/8]", "[10.0.0.0/9]"),
        (
            "AuthDoc.api_keys",
            "auth: {api_keys: keys}",
            "auth: {issuer: id}",
        ),
        (
            "AuthDoc.client_certificate",
            "auth: {api_keys: keys}",
            "auth: {client_certificate: {subject: CN=b}}",
        ),
        ("AuthDoc.any_of", "{any_of: [{issuer: id}, ", "{any_of: ["),
        (
            "AuthDoc.mode",
            "auth: {any_of",
            "auth: {mode: shadow, any_of",
        ),
        (
            "RevocationsDoc.cluster",
            "{cluster: identity}",
            "{cluster: other}",
        ),
        (
            "RevocationsDoc.on_stale",
            "{cluster: identity}",
            "{cluster: identity, on_stale: deny}",
        ),
        (
            "RevocationsDoc.stale_after",
            "{cluster: identity}",
            "{cluster: identity, stale_after: 1m}",
        ),
        ("CredentialDoc.issuer", "[{issuer: id}, ", "["),
        ("CredentialDoc.api_keys", "{api_keys: keys}, ", ""),
        (
            "CredentialDoc.client_certificate",
            ", {client_certificate: {subject: CN=b}}",
            "",
        ),
        (
            "ApiKeysDoc.name",
            "- name: keys",
            "- {name: more, keys: [{name: a, sha256: 1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}]}\n  - name: keys",
        ),
        (
            "ApiKeysDoc.header",
            "  - name: keys",
            "  - name: keys\n    header: x-key",
        ),
        ("ApiKeysDoc.keys", "sha256: 01", "sha256: 11"),
        (
            "ApiKeysDoc.introspect",
            "{name: traded, introspect: {cluster: identity, issuer: id}}",
            "{name: traded, keys: [{name: a, sha256: 1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}]}",
        ),
        (
            "IntrospectDoc.cluster",
            "{cluster: identity, issuer",
            "{cluster: other, issuer",
        ),
        ("IntrospectDoc.issuer", "issuer: id}}", "issuer: second}}"),
        ("ApiKeyDoc.name", "{name: acme,", "{name: other,"),
        ("ApiKeyDoc.sha256", "sha256: 01", "sha256: 11"),
        (
            "ApiKeyDoc.file",
            "sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "file: ../certs/api.key",
        ),
        (
            "ApiKeyDoc.scopes",
            "{name: acme,",
            "{name: acme, scopes: [s],",
        ),
        (
            "ApiKeyDoc.roles",
            "{name: acme,",
            "{name: acme, roles: [r],",
        ),
        ("AccessDoc.name", "- name: rule", "- name: other"),
        (
            "AccessDoc.mode",
            "- name: rule",
            "- name: rule\n    mode: shadow",
        ),
        (
            "AccessDoc.scopes",
            "- name: rule",
            "- name: rule\n    scopes: [s]",
        ),
        (
            "AccessDoc.roles",
            "- name: rule",
            "- name: rule\n    roles: [r]",
        ),
        (
            "AccessDoc.claims",
            "- name: rule",
            "- name: rule\n    claims: {tenant: a}",
        ),
        ("AccessDoc.client_addresses", "[10.0.0.0/8]", "[10.0.0.0/9]"),
        (
            "AccessDoc.client_certificate",
            "    client_certificate: {subject: CN=a}\n",
            "",
        ),
        (
            "AccessDoc.expression",
            "- name: rule",
            "- name: rule\n    expression: claims.admin",
        ),
        (
            "CertificateDoc.subject",
            "{subject: CN=a}",
            "{subject: CN=c}",
        ),
        ("CertificateDoc.san", "{subject: CN=a}", "{san: a.example}"),
        (
            "CertificateDoc.sha256",
            "{subject: CN=a}",
            "{sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}",
        ),
        (
            "LimitDoc.mode",
            "- name: l\n",
            "- name: l\n    mode: shadow\n",
        ),
        (
            "RouteDoc.access",
            "    limits: [l]",
            "    access: [rule]\n    limits: [l]",
        ),
        (
            "RouteDoc.mode",
            "    limits: [l]",
            "    mode: shadow\n    limits: [l]",
        ),
    ],
};
