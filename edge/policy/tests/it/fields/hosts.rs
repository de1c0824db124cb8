//! Hosts and their TLS: each key changes the model.

use super::Section;

pub(super) const SECTION: Section = Section {
    base: r#"
version: 1
hosts:
  - name: h
    hosts: [b.example]
    tls: {client_certificates: {mode: required, ca: ../certs/ca.pem}}
    hsts: {}
"#,
    changes: &[
        (
            "Document.hosts",
            "    hsts: {}\n",
            "    hsts: {}\n  - {name: other, hosts: [c.example]}\n",
        ),
        ("HostDoc.name", "name: h\n", "name: h2\n"),
        ("HostDoc.hosts", "[b.example]", "[c.example]"),
        (
            "HostDoc.tls",
            "    tls: {client_certificates: {mode: required, ca: ../certs/ca.pem}}\n",
            "",
        ),
        ("HostDoc.hsts", "    hsts: {}\n", ""),
        (
            "HostDoc.alt_svc",
            "    tls: {client_certificates: {mode: required, ca: ../certs/ca.pem}}\n",
            "    alt_svc: false\n",
        ),
        (
            "HostDoc.security_headers",
            "hsts: {}",
            "security_headers: false",
        ),
        (
            "HostTlsDoc.min_version",
            "tls: {client",
            "tls: {min_version: 1.3, client",
        ),
        (
            "HostTlsDoc.alpn",
            "tls: {client",
            "tls: {alpn: [http/1.1], client",
        ),
        (
            "HostTlsDoc.client_certificates",
            "{mode: required, ca: ../certs/ca.pem}",
            "off",
        ),
        (
            "ClientCertificatesDoc.mode",
            "mode: required",
            "mode: optional",
        ),
        (
            "ClientCertificatesDoc.ca",
            "required, ca: ../certs/ca.pem",
            "required, ca: ../certs/edge.pem",
        ),
        (
            "ClientCertificatesDoc.crl",
            "mode: required",
            "mode: required, crl: ../certs/ca.crl",
        ),
        (
            "ClientCertificatesDoc.forward",
            "mode: required",
            "mode: required, forward: true",
        ),
        ("HstsDoc.max_age", "hsts: {}", "hsts: {max_age: 1d}"),
        (
            "HstsDoc.include_subdomains",
            "hsts: {}",
            "hsts: {include_subdomains: true}",
        ),
        (
            "HstsDoc.preload",
            "hsts: {}",
            "hsts: {include_subdomains: true, preload: true}",
        ),
    ],
};
