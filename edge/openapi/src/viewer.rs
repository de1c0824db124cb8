//! The documentation page: Swagger UI, as its makers ship it, and a few lines to start it.
//!
//! Everything comes from the same origin and no script stands in the page, so that the policy
//! below can forbid the rest. `edge/openapi/viewer/refresh.sh` fetches another version.

use std::fmt::Write;
use std::sync::LazyLock;

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Of the page. Swagger UI sets styles of elements and has images in its style sheet; the page talks
/// to its own origin alone.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &[u8] = include_bytes!("../viewer/swagger-ui-bundle.js");
const STYLES: &[u8] = include_bytes!("../viewer/swagger-ui.css");
const START: &[u8] = include_bytes!("../viewer/start.js");
const ICON: &[u8] = include_bytes!("../viewer/favicon-32x32.png");

/// Hexadecimal digits in a name: a file with another content has another name.
const DIGITS: usize = 12;

/// A file of the viewer. It never changes: its name has a digest in it.
#[derive(Debug)]
pub struct Asset {
    name: String,
    pub content_type: &'static str,
    pub content: Bytes,
}

static ASSETS: LazyLock<[Asset; 4]> = LazyLock::new(|| {
    [
        file("swagger-ui", "js", "text/javascript; charset=utf-8", SCRIPT),
        file("start", "js", "text/javascript; charset=utf-8", START),
        file("swagger-ui", "css", "text/css; charset=utf-8", STYLES),
        file("favicon", "png", "image/png", ICON),
    ]
});

fn file(stem: &str, ending: &str, content_type: &'static str, content: &'static [u8]) -> Asset {
    let mut digest = String::new();
    for byte in Sha256::digest(content).iter().take(DIGITS / 2) {
        // Writing to a string cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    Asset {
        name: format!("{stem}-{digest}.{ending}"),
        content_type,
        content: Bytes::from_static(content),
    }
}

/// The file of this name.
#[must_use]
pub fn asset(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

/// The page at `base`, below which its files are, of the document at `openapi`.
#[must_use]
pub fn page(base: &str, openapi: &str, title: &str) -> String {
    let base = base.trim_end_matches('/');
    let [script, start, styles, icon] = &*ASSETS;
    let at = |asset: &Asset| escaped(&format!("{base}/{}", asset.name));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"openapi\" content=\"{}\">\n<title>{}</title>\n\
         <link rel=\"icon\" type=\"image/png\" href=\"{}\">\n\
         <link rel=\"stylesheet\" href=\"{}\">\n\
         <script defer src=\"{}\"></script>\n<script defer src=\"{}\"></script>\n\
         </head>\n<body>\n<div id=\"viewer\"></div>\n\
         <noscript>This page needs JavaScript. The document itself: <a href=\"{}\">{}</a></noscript>\n\
         </body>\n</html>\n",
        escaped(openapi),
        escaped(title),
        at(icon),
        at(styles),
        at(script),
        at(start),
        escaped(openapi),
        escaped(openapi),
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_files_that_are_there() {
        let page = page("/docs/", "/a?b=\"<c>", "A & B");
        assert!(page.contains("content=\"/a?b=&quot;&lt;c&gt;\""), "{page}");
        assert!(page.contains("<title>A &amp; B</title>"), "{page}");
        let names = page
            .split('"')
            .filter_map(|text| text.strip_prefix("/docs/"));
        let names: Vec<_> = names.collect();
        assert_eq!(names.len(), 4, "{page}");
        for name in names {
            assert!(
                asset(name).is_some_and(|asset| !asset.content.is_empty()),
                "{name}"
            );
        }
        assert!(asset("start.js").is_none());
    }

    #[test]
    fn no_script_stands_in_the_page() {
        let page = page("/docs", "/openapi.json", "API");
        assert!(
            page.contains("></script>") && !page.contains("<script>"),
            "{page}"
        );
        assert!(
            !page.contains("://"),
            "nothing is fetched from elsewhere: {page}"
        );
    }
}
