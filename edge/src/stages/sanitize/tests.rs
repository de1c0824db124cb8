//! One reading of every head: paths, hosts, fields.

use super::*;
use proptest::prelude::*;

fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> RequestHeader {
    let mut head = RequestHeader::build(method, target.as_bytes(), None).unwrap();
    for (name, value) in fields {
        head.append_header((*name).to_owned(), *value).unwrap();
    }
    head
}

fn check_path(path: &str, expected: Option<&str>) {
    let found = canonical_path(path).ok();
    assert_eq!(found.as_deref(), expected, "{path}");
}

#[test]
fn one_spelling_of_a_path() {
    let cases = [
        ("/", Some("/")),
        ("/a/b", Some("/a/b")),
        ("/a//b", Some("/a/b")),
        ("//admin", Some("/admin")),
        ("/%61dmin", Some("/admin")),
        ("/%7Euser", Some("/~user")),
        ("/caf%c3%a9", Some("/caf%C3%A9")),
        ("/a%20b", Some("/a%20b")),
        ("/a/", Some("/a/")),
        ("/.well-known/x", Some("/.well-known/x")),
        ("/a..b", Some("/a..b")),
        ("/a/../b", None),
        ("/a/./b", None),
        ("/a/..", None),
        ("/a/%2e%2e/b", None),
        ("/a/.%2E/b", None),
        ("/a%2fb", None),
        ("/a%2Fb", None),
        ("/a%5cb", None),
        ("/a\\b", None),
        ("/a;b", None),
        ("/a%3bb", None),
        ("/a%00", None),
        ("/a%0d%0ab", None),
        ("/a%7f", None),
        ("/a%2", None),
        ("/a%zz", None),
        ("/a%+1", None),
        ("a", None),
        ("", None),
    ];
    for (path, expected) in cases {
        check_path(path, expected);
    }
}

proptest! {
    #[test]
    fn canonical_is_a_fixed_point(path in "/[ -~]{0,40}") {
        if let Ok(once) = canonical_path(&path) {
            let twice = canonical_path(&once).map(Cow::into_owned);
            prop_assert_eq!(twice.ok(), Some(once.to_string()));
            prop_assert!(!once.contains("//") && !once.contains("/../"));
        }
    }

    #[test]
    fn any_head_is_judged_without_panic(path in "/[ -~]{0,60}", host in "[ -~]{0,30}") {
        if let (Ok(mut head), Ok(host)) = (
            RequestHeader::build("GET", path.as_bytes(), None),
            HeaderValue::from_str(&host),
        ) {
            head.insert_header(HOST, host).unwrap();
            let _ = in_place(&mut head, &reserved_headers(std::iter::empty()));
        }
    }
}

#[test]
fn claimed_identity_is_removed() {
    let claims = [HeaderName::from_static("x-tenant")];
    let mut head = head(
        "GET",
        "/",
        &[
            ("host", "Example.com:8443"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.2.3.4"),
            ("x_forwarded_for", "1.2.3.4"),
            ("x-user-id", "root"),
            ("x_user_id", "root"),
            ("x-tenant", "other"),
            ("x-tenant", "other2"),
            ("x-request-id", "mine"),
            ("accept", "*/*"),
        ],
    );
    let host = in_place(&mut head, &reserved_headers(claims.into_iter())).unwrap();
    assert_eq!(host, "example.com");
    let mut left: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["accept", "host"]);
}

#[test]
fn what_names_two_things_is_refused() {
    let reserved = reserved_headers(std::iter::empty());
    let cases: [&[(&str, &str)]; 6] = [
        &[("host", "a"), ("x-padded", " 1")],
        &[("host", "a"), ("host", "b")],
        &[("host", "a"), ("host", "a")],
        &[("host", "a b")],
        &[],
        &[
            ("host", "a"),
            ("authorization", "Bearer 1"),
            ("authorization", "Bearer 2"),
        ],
    ];
    for fields in cases {
        assert!(
            in_place(&mut head("GET", "/", fields), &reserved).is_err(),
            "{fields:?}"
        );
    }
}

#[test]
fn cookies_become_one_field() {
    let mut head = head(
        "GET",
        "/",
        &[("host", "a"), ("cookie", "a=1"), ("cookie", "b=2")],
    );
    in_place(&mut head, &reserved_headers(std::iter::empty())).unwrap();
    let cookies: Vec<_> = head.headers.get_all(COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
}

#[test]
fn too_much_is_refused() {
    let reserved = reserved_headers(std::iter::empty());
    let long = format!("/{}", "a".repeat(TARGET_BYTES_MAX));
    let refused = in_place(&mut head("GET", &long, &[("host", "a")]), &reserved);
    assert!(matches!(refused, Err(Rejection::UriTooLong)));
    let mut many = head("GET", "/", &[("host", "a")]);
    for index in 0..FIELDS_MAX {
        many.append_header(format!("x-{index}"), "1").unwrap();
    }
    assert!(matches!(
        in_place(&mut many, &reserved),
        Err(Rejection::HeadersTooLarge)
    ));
}

#[test]
fn a_changed_path_keeps_its_query() {
    let mut head = head("GET", "/a//%62?q=%2f&x=;", &[("host", "a")]);
    in_place(&mut head, &reserved_headers(std::iter::empty())).unwrap();
    assert_eq!(
        head.uri.path_and_query().unwrap().as_str(),
        "/a/b?q=%2f&x=;"
    );
    assert_eq!(head.raw_path(), b"/a/b?q=%2f&x=;");
}
