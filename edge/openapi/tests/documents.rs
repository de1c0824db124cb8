//! The document of the Echo service, as a person reads it: `tests/golden/`, kept by this test.
//!
//! `UPDATE_CASES=1 cargo test -p palisade-openapi` writes what comes of the descriptors into the
//! files; the difference is for a person to judge.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use palisade_openapi::{Contact, Info, Mount, Operation, Quota, Scheme, Terms, Version, document};
use palisade_translate::{BoundMethod, JsonOptions, Options, Translator};
use serde_json::Value;

fn translator(descriptors: &[u8], json: JsonOptions) -> Arc<Translator> {
    let options = Options {
        json,
        ..Options::default()
    };
    Arc::new(Translator::from_descriptor_set(descriptors, options).expect("descriptors"))
}

fn terms(is_guarded: bool) -> Terms {
    if !is_guarded {
        return Terms {
            request_body_max: 65_536,
            ..Terms::default()
        };
    }
    Terms {
        schemes: vec![
            Scheme::Jwt {
                issuer: "main".to_owned(),
            },
            Scheme::ApiKey {
                keys: "partners".to_owned(),
                header: "x-api-key".to_owned(),
            },
            Scheme::ClientCertificate,
        ],
        is_optional: false,
        scopes: vec!["people:write".to_owned()],
        roles: vec!["admin".to_owned()],
        quotas: vec![Quota {
            name: "few".to_owned(),
            requests: 10,
            period: Duration::from_secs(60),
            burst: 3,
            per: "for each caller".to_owned(),
        }],
        request_body_max: 65_536,
        request_timeout: Some(Duration::from_secs(10)),
    }
}

/// Everything that is bound, people only for those who may.
fn operations(translator: &Arc<Translator>) -> Vec<Operation> {
    let bound = translator.bound();
    let operations = bound.map(|binding| Operation {
        translator: translator.clone(),
        binding: binding.clone(),
        method: match binding.method() {
            BoundMethod::Exact(method) => method.to_string(),
            BoundMethod::Any => "POST".to_owned(),
        },
        mount: Mount::default(),
        terms: terms(binding.info().template == "/v1/people"),
    });
    operations.collect()
}

fn info(version: Version) -> Info {
    Info {
        version,
        title: "Echo".to_owned(),
        description: Some("Does as it is told.".to_owned()),
        api_version: "1".to_owned(),
        contact: Contact {
            name: Some("Ada".to_owned()),
            url: None,
            email: Some("ada@example.com".to_owned()),
        },
    }
}

fn echo(version: Version, json: JsonOptions) -> Value {
    let translator = translator(palisade_echo::DESCRIPTORS, json);
    let made = document(&info(version), &operations(&translator));
    serde_json::from_slice(&made.json).expect("JSON")
}

#[test]
fn the_documents_are_as_written() {
    let translator = translator(palisade_echo::DESCRIPTORS, JsonOptions::default());
    for version in [Version::V3_0, Version::V3_1] {
        let made = document(&info(version), &operations(&translator));
        let name = format!("tests/golden/echo-{}.json", version.as_str());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        if std::env::var_os("UPDATE_CASES").is_some() {
            std::fs::write(&path, &made.json).expect("the folder can be written");
        }
        let written = std::fs::read(&path).unwrap_or_default();
        assert!(
            written == made.json,
            "{} is another document now\nhint: UPDATE_CASES=1 cargo test -p palisade-openapi",
            path.display()
        );
        // The same again is the same.
        assert_eq!(
            document(&info(version), &operations(&translator)).etag,
            made.etag
        );
    }
}

#[test]
fn examples_are_what_their_schemas_accept() {
    let document = echo(Version::V3_1, JsonOptions::default());
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for operation in item.as_object().expect("operations").values() {
            let body = &operation["requestBody"]["content"]["application/json"];
            let Some(example) = body.get("example") else {
                continue;
            };
            let mut schema = body["schema"].clone();
            schema["components"] = document["components"].clone();
            let validator = jsonschema::draft202012::options()
                .should_validate_formats(true)
                .build(&schema)
                .expect("a schema");
            let errors: Vec<_> = validator
                .iter_errors(example)
                .map(|it| it.to_string())
                .collect();
            assert!(errors.is_empty(), "{path}: {example}: {errors:?}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} examples");
}

#[test]
fn names_and_enums_are_as_the_translator_writes_them() {
    let json = JsonOptions {
        proto_names: true,
        enum_numbers: true,
        ..JsonOptions::default()
    };
    let document = echo(Version::V3_1, json);
    let schemas = &document["components"]["schemas"];
    let properties = &schemas["palisade.echo.v1.EchoRequest"]["properties"];
    assert!(properties.get("padding_bytes").is_some() && properties.get("paddingBytes").is_none());
    assert_eq!(
        schemas["palisade.echo.v1.Mood"]["enum"],
        serde_json::json!([0, 1, 2])
    );
    let parameters = document["paths"]["/v1/echo/{text}"]["get"]["parameters"].to_string();
    assert!(parameters.contains("\"padding_bytes\""), "{parameters}");
}

#[test]
fn two_clusters_may_have_different_things_of_one_name() {
    let first = translator(palisade_echo::DESCRIPTORS, JsonOptions::default());
    let json = JsonOptions {
        proto_names: true,
        ..JsonOptions::default()
    };
    let second = translator(palisade_echo::DESCRIPTORS, json);
    let mut all = operations(&first);
    let mount = Mount {
        from: String::new(),
        to: "/other".to_owned(),
    };
    all.extend(operations(&second).into_iter().map(|it| Operation {
        mount: mount.clone(),
        ..it
    }));
    let made = document(&info(Version::V3_1), &all);
    let document: Value = serde_json::from_slice(&made.json).expect("JSON");
    let schemas = &document["components"]["schemas"];
    assert!(
        schemas["palisade.echo.v1.EchoRequest"]["properties"]
            .get("paddingBytes")
            .is_some()
    );
    assert!(
        schemas["palisade.echo.v1.EchoRequest-2"]["properties"]
            .get("padding_bytes")
            .is_some()
    );
    let body = &document["paths"]["/other/v1/echo"]["post"]["requestBody"]["content"];
    let schema = &body["application/json"]["schema"]["$ref"];
    assert_eq!(
        schema,
        "#/components/schemas/palisade.echo.v1.EchoRequest-2"
    );
}

#[test]
fn every_reference_leads_somewhere_and_every_id_is_unique() {
    for version in [Version::V3_0, Version::V3_1] {
        let document = echo(version, JsonOptions::default());
        let mut ids = std::collections::HashSet::new();
        for item in document["paths"].as_object().expect("paths").values() {
            for operation in item.as_object().expect("operations").values() {
                assert!(
                    ids.insert(operation["operationId"].to_string()),
                    "{operation}"
                );
            }
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().expect("an end");
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
