//! Tables over `decide`: one request and response per line, and what must come of it.

use super::*;

type Fields<'a> = &'a [(&'static str, &'a str)];

const NOW: &str = "Sat, 21 Nov 2026 10:00:00 GMT";

fn now() -> SystemTime {
    httpdate::parse_http_date(NOW).unwrap()
}

fn request(method: &str, fields: Fields) -> RequestHeader {
    let mut request = RequestHeader::build(method, b"/", None).unwrap();
    for (name, value) in fields {
        request.append_header(*name, *value).unwrap();
    }
    request
}

fn response(status: u16, fields: Fields) -> ResponseHeader {
    let mut response = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        response.append_header(*name, *value).unwrap();
    }
    response
}

const DEFAULTS: Defaults = Defaults {
    ttl: Some(Duration::from_secs(20)),
    stale_while_revalidate_sec: 0,
    stale_if_error_sec: 0,
    has_caller: false,
    max_object_bytes: Some(1000),
};

/// Seconds of freshness left at `now`, or why it is not stored.
fn outcome(
    req: &RequestHeader,
    resp: &ResponseHeader,
    defaults: &Defaults,
) -> Result<i64, &'static str> {
    match decide(req, resp, now(), defaults) {
        RespCacheable::Cacheable(meta) => Ok(left(&meta)),
        RespCacheable::Uncacheable(reason) => Err(reason.as_str()),
    }
}

fn left(meta: &CacheMeta) -> i64 {
    match meta.fresh_until().duration_since(now()) {
        Ok(left) => left.as_secs().try_into().unwrap(),
        Err(past) => -i64::try_from(past.duration().as_secs()).unwrap(),
    }
}

fn check(status: u16, fields: Fields, expected: Result<i64, &str>) {
    let found = outcome(&request("GET", &[]), &response(status, fields), &DEFAULTS);
    assert_eq!(found, expected, "{status} {fields:?}");
}

#[test]
fn what_is_never_stored() {
    const FRESH: (&str, &str) = ("cache-control", "public, max-age=60");
    for control in [
        "no-store",
        "private",
        "private=\"x-a\"",
        "PRIVATE",
        "max-age=9, No-Store",
        "public,private",
    ] {
        check(200, &[("cache-control", control)], Err("OriginNotCache"));
    }
    check(
        200,
        &[
            ("cache-control", "max-age=60"),
            ("cache-control", "no-store"),
        ],
        Err("OriginNotCache"),
    );
    check(200, &[FRESH, ("set-cookie", "a=b")], Err("set-cookie"));
    check(200, &[FRESH, ("vary", "*")], Err("vary"));
    check(
        200,
        &[FRESH, ("vary", "accept"), ("vary", "x, *")],
        Err("vary"),
    );
    check(
        200,
        &[FRESH, ("content-range", "bytes 0-1/9")],
        Err("content-range"),
    );
    check(
        200,
        &[FRESH, ("content-length", "1001")],
        Err("ResponseTooLarge"),
    );
    check(200, &[FRESH, ("content-length", "1000")], Ok(60));
    for status in [
        100, 101, 201, 204, 206, 302, 303, 304, 307, 400, 401, 403, 405, 429, 500, 502, 503,
    ] {
        check(status, &[FRESH], Err("status"));
    }
}

#[test]
fn requests_that_may_not_fill() {
    let check = |method: &str, req: Fields, control: &str, expected: Result<i64, &str>| {
        let response = response(200, &[("cache-control", control)]);
        assert_eq!(
            outcome(&request(method, req), &response, &DEFAULTS),
            expected,
            "{method} {req:?} {control}"
        );
    };
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        check(method, &[], "public, max-age=60", Err("method"));
    }
    check("HEAD", &[], "max-age=60", Ok(60));
    check(
        "GET",
        &[("cache-control", "no-store")],
        "public, max-age=60",
        Err("request-no-store"),
    );
    check(
        "GET",
        &[("cache-control", "no-cache, NO-STORE")],
        "max-age=60",
        Err("request-no-store"),
    );
    let bearer: Fields = &[("authorization", "Bearer x")];
    check("GET", bearer, "max-age=60", Err("authorization"));
    check(
        "GET",
        bearer,
        "max-age=60, proxy-revalidate",
        Err("authorization"),
    );
    check("GET", bearer, "public, max-age=60", Ok(60));
    check("GET", bearer, "s-maxage=60", Ok(60));
    check("GET", bearer, "must-revalidate, max-age=60", Ok(60));
    let no_header = outcome(&request("GET", bearer), &response(200, &[]), &DEFAULTS);
    assert_eq!(no_header, Err("authorization"));
    // An API key or a certificate is a credential too.
    let keyed = Defaults {
        has_caller: true,
        ..DEFAULTS
    };
    for (control, expected) in [
        ("max-age=60", Err("authorization")),
        ("public, max-age=60", Ok(60)),
    ] {
        let answer = response(200, &[("cache-control", control)]);
        assert_eq!(outcome(&request("GET", &[]), &answer, &keyed), expected);
    }
}

#[test]
fn lifetimes() {
    for status in [200, 203, 301, 308] {
        check(status, &[], Ok(20));
        check(status, &[("cache-control", "max-age=60")], Ok(60));
    }
    for status in [404, 410] {
        check(status, &[], Err("no-lifetime"));
        check(status, &[("cache-control", "max-age=60")], Ok(60));
    }
    let without = outcome(
        &request("GET", &[]),
        &response(200, &[]),
        &Defaults::default(),
    );
    assert_eq!(without, Err("no-lifetime"));
    let expires = ("expires", "Sat, 21 Nov 2026 10:01:40 GMT");
    check(200, &[("cache-control", "max-age=9, s-maxage=60")], Ok(60));
    check(200, &[("cache-control", "max-age=9"), expires], Ok(9));
    check(
        200,
        &[("cache-control", "max-age=99999999999999")],
        Ok(i32::MAX.into()),
    );
    check(200, &[expires], Ok(100));
    check(200, &[expires, ("date", NOW)], Ok(100));
    // The origin's clock runs five minutes ahead: lifetime by its own clock, no age.
    check(
        200,
        &[
            ("expires", "Sat, 21 Nov 2026 10:06:40 GMT"),
            ("date", "Sat, 21 Nov 2026 10:05:00 GMT"),
        ],
        Ok(100),
    );
}

#[test]
fn badly_stated_lifetimes_count_as_none_left() {
    let expires = ("expires", "Sat, 21 Nov 2026 10:01:40 GMT");
    check(200, &[expires, expires], Err("stale-on-arrival"));
    check(200, &[("expires", "0")], Err("stale-on-arrival"));
    check(
        200,
        &[("cache-control", "max-age=x")],
        Err("stale-on-arrival"),
    );
    check(
        200,
        &[("cache-control", "max-age")],
        Err("stale-on-arrival"),
    );
    check(
        200,
        &[("cache-control", "max-age=-5")],
        Err("stale-on-arrival"),
    );
    check(
        200,
        &[("cache-control", "s-maxage=x, max-age=60")],
        Err("stale-on-arrival"),
    );
    check(
        200,
        &[("cache-control", "no-cache, max-age=60")],
        Err("stale-on-arrival"),
    );
    check(
        200,
        &[("cache-control", "no-cache"), ("etag", "\"a\"")],
        Ok(-1),
    );
    check(
        200,
        &[
            ("cache-control", "no-cache=\"x-a\", max-age=60"),
            ("etag", "\"a\""),
        ],
        Ok(-1),
    );
}

#[test]
fn arriving_age_is_subtracted() {
    let control = ("cache-control", "max-age=60");
    check(200, &[control, ("age", "25")], Ok(35));
    check(200, &[control, ("age", "25, 1")], Ok(35));
    check(200, &[control, ("age", "x")], Ok(60));
    check(200, &[control, ("age", "+5")], Ok(60));
    check(
        200,
        &[control, ("date", "Sat, 21 Nov 2026 09:59:30 GMT")],
        Ok(30),
    );
    check(
        200,
        &[
            control,
            ("date", "Sat, 21 Nov 2026 09:59:30 GMT"),
            ("age", "40"),
        ],
        Ok(20),
    );
    check(
        200,
        &[control, ("date", "Sat, 21 Nov 2026 11:00:00 GMT")],
        Ok(60),
    );
    check(200, &[control, ("age", "60")], Err("stale-on-arrival"));
    check(
        200,
        &[control, ("age", "99999999999999")],
        Err("stale-on-arrival"),
    );
    check(200, &[control, ("age", "70"), ("etag", "\"a\"")], Ok(-10));
    check(
        200,
        &[
            ("cache-control", "max-age=60, stale-while-revalidate=30"),
            ("age", "70"),
        ],
        Ok(-10),
    );
    let meta = decide(
        &request("GET", &[]),
        &response(200, &[control, ("age", "25")]),
        now(),
        &DEFAULTS,
    )
    .unwrap_meta();
    assert_eq!(
        now().duration_since(meta.epoch()).unwrap().as_secs(),
        25,
        "Pingora's Age starts there"
    );
    assert_eq!(
        (meta.fresh_sec(), meta.created(), meta.updated()),
        (60, now(), now())
    );
}

#[test]
fn stale_windows_are_stated_or_by_default() {
    let defaults = Defaults {
        stale_while_revalidate_sec: 7,
        stale_if_error_sec: 8,
        ..DEFAULTS
    };
    let check = |control: &str, expected: (u32, u32)| {
        let response = response(200, &[("cache-control", control), ("etag", "\"a\"")]);
        let meta = decide(&request("GET", &[]), &response, now(), &defaults).unwrap_meta();
        assert_eq!(
            (meta.stale_while_revalidate_sec(), meta.stale_if_error_sec()),
            expected,
            "{control}"
        );
    };
    check("max-age=60", (7, 8));
    check(
        "max-age=60, stale-while-revalidate=30, stale-if-error=40",
        (30, 40),
    );
    check("max-age=60, stale-if-error=0", (7, 0));
    for control in [
        "must-revalidate",
        "proxy-revalidate",
        "s-maxage=9",
        "no-cache",
    ] {
        check(
            &format!("max-age=60, stale-while-revalidate=30, {control}"),
            (0, 0),
        );
    }
}

#[test]
fn a_confirmed_response_is_as_young_as_its_304() {
    let old: Fields = &[
        ("cache-control", "max-age=60"),
        ("date", "Sat, 21 Nov 2026 09:00:00 GMT"),
        ("age", "3"),
        ("etag", "\"a\""),
    ];
    let merged = response(200, old);
    let check = |fields: Fields, expected: i64| {
        let arrival = Arrival::of(&response(304, fields).headers);
        let meta = decide_revalidated(&request("GET", &[]), &merged, &arrival, now(), &DEFAULTS)
            .unwrap_meta();
        assert_eq!(left(&meta), expected, "{fields:?}");
        let dates: Vec<_> = meta.headers().get_all("date").iter().collect();
        assert_eq!(
            dates.len(),
            fields.iter().filter(|(name, _)| *name == "date").count()
        );
    };
    check(&[("date", NOW)], 60);
    check(&[("date", NOW), ("age", "10")], 50);
    check(&[], 60);
    let judged_by_old_date = decide(&request("GET", &[]), &merged, now(), &DEFAULTS).unwrap_meta();
    assert!(left(&judged_by_old_date) < 0);
}

#[test]
fn hop_by_hop_fields_are_not_kept() {
    let fields: Fields = &[
        ("cache-control", "max-age=60"),
        ("connection", "close, X-Hop, cache-control"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("x-kept", "1"),
    ];
    let meta = decide(
        &request("GET", &[]),
        &response(200, fields),
        now(),
        &DEFAULTS,
    )
    .unwrap_meta();
    let mut names: Vec<_> = meta.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "x-kept"]);
}
