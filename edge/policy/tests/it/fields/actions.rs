//! What is done with requests: each key changes the model.

use super::Section;

pub(super) const SECTION: Section = Section {
    base: r#"
version: 1
clusters:
  - {name: a, endpoints: ["127.0.0.1:1"]}
caches:
  - {name: short, default_ttl: 1s}
header_sets:
  - {name: one, request: {remove: [x-1]}, response: {}}
  - {name: two, request: {remove: [x-2]}}
routes:
  - {name: to, matches: [{path: {prefix: /to}}], redirect: {host: a.example, port: 1}}
  - {name: say, matches: [{path: /say}], respond: {body: a}}
  - {name: api, matches: [{path: /api}], openapi: {title: a, contact: {name: a}}}
  - {name: page, matches: [{path: {prefix: /page}}], docs: {openapi: /api}}
  - name: on
    matches: [{path: {prefix: /on}}]
    header_sets: [one]
    cache: short
    cors: {origins: ["https://a.example"]}
    compression: {min_size: 4KiB}
    rewrite: {host: a.example}
    cluster: a
"#,
    changes: &[
        ("Document.caches", "default_ttl: 1s", "default_ttl: 2s"),
        ("Document.header_sets", "[x-1]", "[x-3]"),
        (
            "CacheDoc.name",
            "- {name: short, default_ttl: 1s}",
            "- {name: other}\n  - {name: short}",
        ),
        (
            "HeaderSetDoc.name",
            "{name: one, request: {remove: [x-1]}, response: {}}\n  - {name: two,",
            "{name: two, request: {remove: [x-1]}, response: {}}\n  - {name: one,",
        ),
        ("HeaderSetDoc.request", "request: {remove: [x-1]}, ", ""),
        (
            "HeaderSetDoc.response",
            "response: {}",
            "response: {remove: [x-1]}",
        ),
        ("RouteDoc.header_sets", "[one]", "[two]"),
        (
            "RouteDoc.cors",
            "    cors: {origins: [\"https://a.example\"]}\n",
            "",
        ),
        (
            "RouteDoc.compression",
            "compression: {min_size: 4KiB}",
            "compression: off",
        ),
        ("RouteDoc.rewrite", "    rewrite: {host: a.example}\n", ""),
        (
            "RouteDoc.redirect",
            "redirect: {host: a.example, port: 1}",
            "respond: {}",
        ),
        (
            "RouteDoc.respond",
            "respond: {body: a}",
            "redirect: {host: b.example}",
        ),
        (
            "RedirectDoc.status",
            "redirect: {",
            "redirect: {status: 308, ",
        ),
        (
            "RedirectDoc.scheme",
            "redirect: {",
            "redirect: {scheme: http, ",
        ),
        (
            "RedirectDoc.host",
            "redirect: {host: a",
            "redirect: {host: b",
        ),
        ("RedirectDoc.port", "port: 1}", "port: 2}"),
        ("RedirectDoc.path", "redirect: {", "redirect: {path: /x, "),
        (
            "RedirectDoc.prefix",
            "redirect: {",
            "redirect: {prefix: /x, ",
        ),
        ("RespondDoc.status", "respond: {", "respond: {status: 404, "),
        (
            "RespondDoc.content_type",
            "respond: {",
            "respond: {content_type: text/html, ",
        ),
        ("RespondDoc.body", "body: a", "body: b"),
        ("RespondDoc.file", "body: a", "file: ../certs/ca.crl"),
        (
            "RouteDoc.openapi",
            "openapi: {title: a, contact: {name: a}}",
            "respond: {}",
        ),
        ("RouteDoc.docs", "docs: {openapi: /api}", "respond: {}"),
        (
            "OpenApiDoc.version",
            "openapi: {",
            "openapi: {version: 3.0, ",
        ),
        (
            "OpenApiDoc.title",
            "openapi: {title: a",
            "openapi: {title: b",
        ),
        (
            "OpenApiDoc.description",
            "openapi: {title",
            "openapi: {description: a, title",
        ),
        (
            "OpenApiDoc.api_version",
            "openapi: {title",
            "openapi: {api_version: \"2\", title",
        ),
        ("OpenApiDoc.contact", ", contact: {name: a}", ""),
        ("ContactDoc.name", "contact: {name: a", "contact: {name: b"),
        (
            "ContactDoc.url",
            "contact: {",
            "contact: {url: \"https://a.example\", ",
        ),
        (
            "ContactDoc.email",
            "contact: {",
            "contact: {email: a@a.example, ",
        ),
        (
            "DocsDoc.openapi",
            "docs: {openapi: /api",
            "docs: {openapi: /b",
        ),
        ("DocsDoc.title", "docs: {", "docs: {title: b, "),
        ("RewriteDoc.path", "rewrite: {", "rewrite: {path: /x, "),
        ("RewriteDoc.prefix", "rewrite: {", "rewrite: {prefix: /x, "),
        ("RewriteDoc.host", "rewrite: {host: a", "rewrite: {host: b"),
        (
            "CompressionDoc.codings",
            "compression: {",
            "compression: {codings: [gzip], ",
        ),
        (
            "CompressionDoc.min_size",
            "{min_size: 4KiB}",
            "{min_size: 8KiB}",
        ),
        (
            "CompressionDoc.content_types",
            "compression: {",
            "compression: {content_types: [text/html], ",
        ),
        ("CorsDoc.origins", "https://a", "https://b"),
        ("CorsDoc.methods", "cors: {", "cors: {methods: [GET], "),
        ("CorsDoc.headers", "cors: {", "cors: {headers: [x-a], "),
        (
            "CorsDoc.expose_headers",
            "cors: {",
            "cors: {expose_headers: [x-a], ",
        ),
        (
            "CorsDoc.credentials",
            "cors: {",
            "cors: {credentials: true, ",
        ),
        ("CorsDoc.max_age", "cors: {", "cors: {max_age: 1s, "),
    ],
};
