//! What a descriptor set must and must not say.

use palisade_translate::{Find, Options, Translator};

use crate::descriptors;

fn check(source: &str, expected: &[&str]) {
    let set = descriptors::inline(source);
    let errors = Translator::from_descriptor_set(&set, Options::default())
        .err()
        .unwrap_or_default();
    let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(text, expected, "{source}");
}

/// An RPC `t.S.<name>` with this rule.
fn rpc(name: &str, rule: &str) -> String {
    format!("rpc {name}(M) returns (M) {{ option (google.api.http) = {{ {rule} }}; }}\n")
}

fn service(rpcs: &[(&str, &str)]) -> String {
    let rpcs: String = rpcs.iter().map(|(name, rule)| rpc(name, rule)).collect();
    format!(
        "message M {{ string a = 1; M m = 2; repeated string l = 3; map<string,string> p = 4; }}\n\
         service S {{\n{rpcs}}}"
    )
}

#[test]
fn wrong_rules() {
    let rows = [
        (
            r#"get: "/{b}""#,
            "rpc `t.S.R`: path variable `b` of `/{b}`: message `t.M` has no field `b`",
        ),
        (
            r#"get: "/{a.b}""#,
            "rpc `t.S.R`: path variable `a.b` of `/{a.b}`: `a` is not a singular message, so it has no fields to name",
        ),
        (
            r#"get: "/{l}""#,
            "rpc `t.S.R`: path variable `l` of `/{l}`: a repeated field cannot be in a path",
        ),
        (
            r#"get: "/{p}""#,
            "rpc `t.S.R`: path variable `p` of `/{p}`: a repeated field cannot be in a path",
        ),
        (
            r#"get: "/{m}""#,
            "rpc `t.S.R`: path variable `m` of `/{m}`: message `t.M` cannot be written as text",
        ),
        (
            r#"get: "/a/""#,
            "rpc `t.S.R`: path template `/a/`: has an empty segment",
        ),
        (
            r#"post: "/a" body: "x""#,
            "rpc `t.S.R`: body `x`: message `t.M` has no field `x`",
        ),
        (
            r#"post: "/a" body: "m.a""#,
            "rpc `t.S.R`: body `m.a`: message `t.M` has no field `m.a`",
        ),
        (
            r#"get: "/a" response_body: "x""#,
            "rpc `t.S.R`: response body `x`: message `t.M` has no field `x`",
        ),
        (
            r#"custom: { kind: "A B" path: "/a" }"#,
            "rpc `t.S.R`: `A B` is not an http method",
        ),
        (
            r#"body: "*""#,
            "rpc `t.S.R`: an http rule names no method and path\nhint: write one of get, put, post, delete, patch, custom",
        ),
        (
            r#"get: "/a" additional_bindings { get: "/b" additional_bindings { get: "/c" } }"#,
            "rpc `t.S.R`: additional bindings of an additional binding are not allowed",
        ),
    ];
    for (rule, expected) in rows {
        check(&service(&[("R", rule)]), &[expected]);
    }
}

#[test]
fn all_errors_at_once_and_both_sides_of_a_conflict() {
    check(
        &service(&[
            ("A", r#"get: "/a/{a}""#),
            ("B", r#"get: "/x" additional_bindings { get: "/a/{m.a}" }"#),
            ("C", r#"get: "/{nope}""#),
            ("D", r#"post: "/a/{a}""#),
            ("E", r#"get: "/a/{a}:go""#),
            ("F", r#"post: "/a/*""#),
            (
                "G",
                r#"get: "/b/c/{a}" additional_bindings { get: "/b/{a=c/*}" }"#,
            ),
            ("H", r#"get: "/{a=d/**}""#),
            ("I", r#"get: "/d/{m.a=**}""#),
        ]),
        &[
            "`GET /a/{m.a}` of `t.S.B` is bound already: as `/a/{a}` by `t.S.A`",
            "rpc `t.S.C`: path variable `nope` of `/{nope}`: message `t.M` has no field `nope`",
            "`POST /a/*` of `t.S.F` is bound already: as `/a/{a}` by `t.S.D`",
            "`GET /b/{a=c/*}` of `t.S.G` is bound already: as `/b/c/{a}` by `t.S.G`",
            "`GET /d/{m.a=**}` of `t.S.I` is bound already: as `/{a=d/**}` by `t.S.H`",
        ],
    );
}

#[test]
fn sets_that_define_no_rpc() {
    let hint = "descriptor set has no rpc\nhint: compile the files that define services, with their imports";
    check("message M {}", &[hint]);
    let empty = Translator::from_descriptor_set(&[], Options::default()).unwrap_err();
    assert_eq!(empty[0].to_string(), hint);
    let junk = Translator::from_descriptor_set(b"\x0a\xff", Options::default()).unwrap_err();
    assert!(
        junk[0]
            .to_string()
            .starts_with("descriptor set cannot be read: ")
    );
    let large = vec![0; 16 * 1024 * 1024 + 1];
    let large = Translator::from_descriptor_set(&large, Options::default()).unwrap_err();
    let expected = "descriptor set has `16777217` bytes, the limit is `16777216`";
    assert_eq!(large[0].to_string(), expected);
}

#[test]
fn too_many_bindings() {
    let rules: String = (0..10_000)
        .map(|at| format!("additional_bindings {{ get: \"/{at}\" }}\n"))
        .collect();
    check(
        &service(&[("R", &format!("get: \"/x\" {rules}"))]),
        &["descriptor set has more than `10000` http bindings"],
    );
}

#[test]
fn listing() {
    let set = descriptors::things();
    let translator = Translator::from_descriptor_set(&set, Options::default()).unwrap();
    let lines: Vec<_> = translator
        .bindings()
        .map(|b| {
            let body = b.body.unwrap_or("-");
            format!("{} {} {} {body}", b.rpc, b.method.as_str(), b.template)
        })
        .collect();
    assert_eq!(lines[0], "test.v1.Things.Get GET /v1/things/{id} -");
    assert_eq!(
        lines[1],
        "test.v1.Things.Get GET /v1/inner/{inner.name}/things -"
    );
    assert!(lines.contains(&"test.v1.Things.Create POST /v1/things *".to_owned()));
    assert!(lines.contains(&"test.v1.Things.Whatever * /v1/whatever -".to_owned()));
    let inner = "test.v1.Things.SetInner PATCH /v1/things/{inner.name}/inner inner";
    assert!(lines.contains(&inner.to_owned()));
    let watch = translator.rpc("/test.v1.Things/Watch").unwrap();
    assert!(watch.is_streaming());

    match translator.find(&http::Method::HEAD, "/v1/things/7") {
        Find::Found(binding) => {
            assert_eq!(binding.rpc().name(), "test.v1.Things.Get");
            assert_eq!(binding.rpc().path().as_str(), "/test.v1.Things/Get");
        }
        other => panic!("{other:?}"),
    }
}
