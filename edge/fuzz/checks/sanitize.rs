//! A request head, as the sanitising stage gets it: whatever passes has one reading.

use std::collections::HashSet;

use http::HeaderName;
use palisade_edge::stages::sanitize;
use pingora_http::RequestHeader;

/// More fields than the stage allows, so that its own bound is met too.
const FIELDS_MAX: usize = 128;

pub(crate) fn check(data: &[u8]) {
    let Some(mut head) = parse(data) else {
        return;
    };
    let reserved = sanitize::reserved_headers(std::iter::empty());
    let Ok(host) = sanitize::in_place(&mut head, &reserved) else {
        return;
    };
    assert_canonical(&head, &host, &reserved);
    // What went through once goes through again, unchanged: nothing was left half decoded.
    let once = (head.uri.clone(), head.headers.clone());
    let again = sanitize::in_place(&mut head, &reserved);
    assert_eq!(again.ok().as_deref(), Some(host.as_str()));
    assert_eq!((head.uri.clone(), head.headers.clone()), once);
}

fn parse(data: &[u8]) -> Option<RequestHeader> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(data).ok()?;
    let target = request.path?.as_bytes();
    let mut head = RequestHeader::build(request.method?, target, None).ok()?;
    for field in request.headers.iter() {
        head.append_header(field.name.to_owned(), field.value)
            .ok()?;
    }
    Some(head)
}

fn assert_canonical(head: &RequestHeader, host: &str, reserved: &HashSet<HeaderName>) {
    let path = head.uri.path();
    assert!(path == "*" || path.starts_with('/'), "path {path:?}");
    assert!(!path.contains("//"), "empty segment in {path:?}");
    assert!(
        !path
            .split('/')
            .any(|segment| segment == "." || segment == ".."),
        "dot segment in {path:?}"
    );
    assert!(
        path.bytes()
            .all(|byte| (0x21..0x7f).contains(&byte) && !matches!(byte, b'\\' | b';')),
        "byte in {path:?}"
    );
    assert_eq!(
        head.raw_path(),
        head.uri
            .path_and_query()
            .map_or("", |target| target.as_str())
            .as_bytes()
    );
    assert_eq!(host, host.to_ascii_lowercase());
    assert!(!host.ends_with('.'), "host {host:?}");
    for name in head.headers.keys() {
        assert!(
            !name.as_str().contains('_') && !reserved.contains(name),
            "a client set {name}"
        );
    }
    assert!(head.headers.get_all("cookie").iter().count() <= 1);
}
