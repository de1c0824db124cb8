//! `buf.validate` rules: each kind with input that keeps and that breaks it. What breaks one never
//! becomes a call.

use palisade_translate::{JsonOptions, Options, Translator};
use serde_json::{Value, json};

use crate::client::{Client, request};
use crate::descriptors;
use crate::upstream::{Script, Upstream};

const IMPORTS: &str = r#"
    import "buf/validate/validate.proto";
    import "google/protobuf/any.proto";
    import "google/protobuf/duration.proto";
    import "google/protobuf/empty.proto";
    import "google/protobuf/field_mask.proto";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
"#;

const TYPES: &str = r#"
    enum Mood { MOOD_UNSPECIFIED = 0; MOOD_CALM = 1; MOOD_CROSS = 2; }
    message Inner { string post_code = 1 [(buf.validate.field).string.pattern = "^[0-9]{5}$"]; }
    message Unused { google.protobuf.Empty empty = 1; google.protobuf.Any any = 2; }
    message Tree { Tree left = 1; string name = 2 [(buf.validate.field).string.max_len = 3]; }
"#;

/// A service whose RPC `n`, at `/n`, takes a message with the members of the list's `n`th.
fn translator(members: &[&str], options: Options) -> Result<Translator, String> {
    let mut text = format!("{IMPORTS}{TYPES}");
    let mut rpcs = String::new();
    for (n, members) in members.iter().enumerate() {
        text.push_str(&format!("message M{n} {{ {members} }}\n"));
        rpcs.push_str(&format!(
            "rpc R{n}(M{n}) returns (M{n}) {{ option (google.api.http) = {{ post: \"/{n}\" body: \"*\" }}; }}\n"
        ));
    }
    text.push_str(&format!("service Things {{ {rpcs} }}"));
    let set = descriptors::inline_in("test.v1", &text);
    Translator::from_descriptor_set(&set, options).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        errors.join("; ")
    })
}

async fn start(members: &[&str], options: Options) -> (Upstream, Client) {
    let upstream = Upstream::start(Script::Echo(Default::default())).await;
    let translator = translator(members, options).unwrap();
    let client = Client::connect_to(&upstream, translator);
    (upstream, client)
}

/// `field rule; field rule`.
fn broken(problem: &Value) -> String {
    let violations = problem["errors"].as_array().unwrap();
    let words: Vec<String> = violations
        .iter()
        .map(|violation| {
            let text = |name: &str| violation[name].as_str().unwrap();
            assert!(!text("description").is_empty(), "{violation}");
            let field = Some(text("field")).filter(|field| !field.is_empty());
            format!("{} {}", field.unwrap_or("-"), text("rule"))
        })
        .collect();
    words.join("; ")
}

#[tokio::test]
async fn every_kind_of_rule() {
    let cases = include_str!("../cases/validation.case");
    let lines: Vec<&str> = cases
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let cases: Vec<&[&str]> = lines.chunks(4).collect();
    let members: Vec<&str> = cases.iter().map(|case| case[0]).collect();
    let (upstream, mut client) = start(&members, Options::default()).await;
    let mut failures = Vec::new();
    for (n, case) in cases.iter().enumerate() {
        let [members, good, bad, expected] = case else {
            panic!("a case has four lines: {case:?}");
        };
        let calls = upstream.calls();
        let uri = format!("/{n}");
        let answer = client.send(request("POST", &uri, good.trim())).await;
        if answer.status != 200 || upstream.calls() != calls + 1 {
            failures.push(format!(
                "{members}\n{good} is refused: {}",
                answer.summary()
            ));
        }
        let calls = upstream.calls();
        let answer = client.send(request("POST", &uri, bad.trim())).await;
        let problem = answer.json();
        if problem["code"] != "invalid_argument" || upstream.calls() != calls {
            failures.push(format!("{members}\n{bad} passed: {}", answer.summary()));
        } else if broken(&problem) != expected.trim() {
            failures.push(format!("{members}\n{bad}\n  {}", broken(&problem)));
        }
        assert!(answer.status == 400 || !failures.is_empty());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(cases.len() > 60);
}

#[tokio::test]
async fn a_refusal_in_full() {
    let members = "string post_code = 1 [(buf.validate.field).string.max_len = 2];
        string mail = 2 [(buf.validate.field).string.email = true];";
    let (_upstream, mut client) = start(&[members], Options::default()).await;
    let body = r#"{"postCode":"secret","mail":"secret"}"#;
    let answer = client.send(request("POST", "/0", body)).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json(),
        json!({
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "detail": "field `postCode`: value length must be at most 2 characters",
            "code": "invalid_argument",
            "errors": [
                {
                    "field": "postCode",
                    "description": "value length must be at most 2 characters",
                    "rule": "string.max_len",
                },
                {
                    "field": "mail",
                    "description": "must be an e-mail address",
                    "rule": "string.email",
                },
            ],
        })
    );
}

#[tokio::test]
async fn fields_are_named_as_clients_name_them() {
    let options = Options {
        json: JsonOptions {
            proto_names: true,
            ..JsonOptions::default()
        },
        ..Options::default()
    };
    let (_upstream, mut client) = start(&["repeated Inner some_list = 1;"], options).await;
    let answer = client
        .send(request(
            "POST",
            "/0",
            r#"{"some_list":[{"post_code":"x"}]}"#,
        ))
        .await;
    assert_eq!(
        broken(&answer.json()),
        "some_list[0].post_code string.pattern"
    );
}

#[tokio::test]
async fn rules_can_be_left_to_the_service() {
    let options = Options {
        validates: false,
        ..Options::default()
    };
    let (upstream, mut client) = start(&["Inner f = 1;"], options).await;
    let answer = client
        .send(request("POST", "/0", r#"{"f":{"postCode":"x"}}"#))
        .await;
    assert_eq!((answer.status.as_u16(), upstream.calls()), (200, 1));
}

#[tokio::test]
async fn a_million_violations_are_one() {
    let members = "repeated uint32 f = 1 [(buf.validate.field).repeated.items.uint32.gt = 0];";
    let (upstream, mut client) = start(&[members], Options::default()).await;
    let long = format!(r#"{{"f":[{}0]}}"#, "0,".repeat(400_000));
    let answer = client.send(request("POST", "/0", &long)).await;
    assert_eq!(broken(&answer.json()), "f[0] uint32.gt");
    // A short one is told more, but not without end.
    let short = format!(r#"{{"f":[{}0]}}"#, "0,".repeat(1_000));
    let answer = client.send(request("POST", "/0", &short)).await;
    let errors = answer.json()["errors"].as_array().unwrap().len();
    assert_eq!((errors, upstream.calls()), (64, 0));
}

#[tokio::test]
async fn rules_hold_at_every_depth_of_a_message_that_holds_itself() {
    let (upstream, mut client) = start(&["Tree tree = 1;"], Options::default()).await;
    let deep = |name: &str| {
        let open = r#"{"left":"#.repeat(90);
        format!(r#"{{"tree":{open}{{"name":"{name}"}}{}}}"#, "}".repeat(90))
    };
    let answer = client.send(request("POST", "/0", &deep("abc"))).await;
    assert_eq!(answer.status, 200);
    let answer = client.send(request("POST", "/0", &deep("abcd"))).await;
    let path = format!("tree{}.name string.max_len", ".left".repeat(90));
    assert_eq!(broken(&answer.json()), path);
    assert_eq!(upstream.calls(), 1);
}

#[test]
fn rules_that_cannot_be_are_errors_of_the_descriptors() {
    let rows = [
        (
            "string f = 1 [(buf.validate.field).int32.gt = 1];",
            "`test.v1.M0.f`: its `buf.validate` rules cannot be used: expected rule `string`, got `int32` on field `test.v1.M0.f`",
        ),
        (
            "string f = 1 [(buf.validate.field).string.pattern = '(']; Inner g = 2;",
            "`test.v1.M0.f`: its `buf.validate` rules cannot be used: invalid regex pattern",
        ),
        (
            "option (buf.validate.message).oneof = {fields: ['g']}; string f = 1;",
            "`test.v1.M0`: its `buf.validate` rules cannot be used: field g not found in message test.v1.M0",
        ),
        (
            "repeated string f = 1 [(buf.validate.field).repeated.items.int64.gt = 1];",
            "`test.v1.M0.f`: its `buf.validate` rules cannot be used: expected rule `string`, got `int64`",
        ),
    ];
    for (members, expected) in rows {
        let error = translator(&[members], Options::default()).unwrap_err();
        assert!(error.starts_with(expected), "{members}: {error}");
        assert!(error.contains("\nhint: mend the rule"), "{error}");
        let unchecked = Options {
            validates: false,
            ..Options::default()
        };
        assert!(translator(&[members], unchecked).is_ok(), "{members}");
    }
}

#[test]
fn what_is_left_to_the_service_is_counted() {
    let left_out = |members: &[&str]| {
        let translator = translator(members, Options::default()).unwrap();
        translator.rules_left_out()
    };
    assert_eq!(left_out(&["string f = 1;"]), 0);
    assert_eq!(left_out(&["Inner f = 1;"]), 0);
    let cel = "string f = 1 [(buf.validate.field).cel = {id: 'c', expression: 'this == 1'},
        (buf.validate.field).string.min_len = 1];
        option (buf.validate.message).cel = {id: 'm', expression: 'this.f'};";
    assert_eq!(left_out(&[cel]), 2);
    let nested = "map<string, string> f = 1
        [(buf.validate.field).map.keys.cel = {id: 'c', expression: 'true'}];";
    assert_eq!(left_out(&[nested, cel]), 3);
}

#[test]
fn messages_hold_messages_to_a_bounded_depth() {
    let chain = |levels: usize| {
        let mut text = String::from("M0 f = 1; ");
        for level in 1..levels {
            text.push_str(&format!("message L{level} {{ L{} f = 1; }} ", level + 1));
        }
        text.push_str(&format!(
            "message L{levels} {{ Inner f = 1; }} L1 first = 2;"
        ));
        translator(&[&text], Options::default())
    };
    chain(250).unwrap();
    let error = chain(300).unwrap_err();
    assert_eq!(
        error,
        "message `test.v1.M0` holds messages more than `256` deep"
    );
}
