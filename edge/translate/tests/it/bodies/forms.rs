//! `multipart/form-data`.

use serde_json::json;

use super::{Echo, checksum, pattern, request};

pub(super) const FORM: [(&str, &str); 1] =
    [("content-type", "multipart/form-data; boundary=\"b c\"")];

/// Parts as (rest of the disposition, further headers, data).
pub(super) fn form(parts: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (disposition, headers, data) in parts {
        let head =
            format!("--b c\r\nContent-Disposition: form-data; {disposition}\r\n{headers}\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b c--\r\n");
    body
}

#[tokio::test]
async fn the_file_is_streamed_and_fields_are_set() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let data = pattern(0, 200_000);
    let file = (
        "name=\"file\"; filename=\"a.png\"",
        "Content-Type: image/png\r\n",
        &*data,
    );
    let title = ("name=title", "", "Ü".as_bytes());
    // Fields may stand before and behind the file.
    for parts in [[title, file], [file, title]] {
        let answer = client
            .send(request("PUT", "/v1/files/n", &FORM, form(&parts)))
            .await;
        let mut seen = answer.json();
        seen["messages"] = json!("many");
        let expected = json!({
            "name": "n", "title": "Ü", "contentType": "image/png",
            "bytes": "200000", "messages": "many", "checksum": checksum(&data),
        });
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_form_for_one_message() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let parts: [(&str, &str, &[u8]); 2] = [
        (
            "name=other; filename=\"\"",
            "content-type: a/b\r\n",
            b"data",
        ),
        ("name=\"name\"", "", b"n"),
    ];
    let answer = client
        .send(request("POST", "/v1/stamps", &FORM, form(&parts)))
        .await;
    assert_eq!(
        (&*answer.body, answer.header("content-type")),
        (&b"data"[..], Some("a/b"))
    );
    assert_eq!(answer.header("x-stamp"), Some("n"));
    // A text part with the name of the body field is the body, too.
    let parts: [(&str, &str, &[u8]); 1] = [("name=file", "", b"data")];
    let answer = client
        .send(request("POST", "/v1/stamps", &FORM, form(&parts)))
        .await;
    assert_eq!(
        (&*answer.body, answer.header("content-type")),
        (&b"data"[..], Some("text/plain"))
    );
    // Where the whole message is the body there are no fields to set: it passes as it is.
    let whole = form(&parts);
    let answer = client
        .send(request("POST", "/v1/mirror", &FORM, whole.clone()))
        .await;
    assert_eq!(
        (&*answer.body, answer.header("content-type")),
        (&*whole, Some(FORM[0].1))
    );
}

#[tokio::test]
async fn refused_forms() {
    let echo = Echo::start().await;
    let file: (&str, &str, &[u8]) = ("name=file", "", b"x");
    let long = vec![b'x'; 64 * 1024 + 1];
    let cases = [
        (form(&[]), "the form has no file"),
        (form(&[("name=title", "", b"x")]), "the form has no file"),
        (form(&[file, file]), "the form has more than one file"),
        (
            form(&[("name=name", "", b"x"), file]),
            "form field `name`: the path sets this field",
        ),
        (
            form(&[file, ("name=\"file.data\"", "", b"x")]),
            "form field `file.data`: the body sets this field",
        ),
        (
            form(&[("name=title", "", b"x"), file, ("name=title", "", b"y")]),
            "form field `title`: is given twice",
        ),
        (
            form(&[("name=title", "", b"\xff"), file]),
            "form field `title`: is not utf-8",
        ),
        (
            form(&[("name=title", "", &long), file]),
            "the form's fields have more than `65536` bytes",
        ),
        (
            b"--b c\r\n\r\n".to_vec(),
            "a part has no `content-disposition: form-data` with a `name`",
        ),
        (
            // All of it before the first boundary, which is the last.
            form(&[file]).split_off(3),
            "the form has no file",
        ),
        (
            b"--b c\r\nContent-Disposition: form-data; name=file\r\n\r\nx".to_vec(),
            "the form ends before its last boundary",
        ),
    ];
    for (body, expected) in cases {
        let mut client = echo.client();
        let answer = client
            .send(request("PUT", "/v1/files/n", &FORM, body))
            .await;
        assert_eq!(answer.problem(), format!("400 invalid_form: {expected}"));
    }
    let mut client = echo.client();
    let bare = [("content-type", "multipart/form-data")];
    let answer = client.send(request("PUT", "/v1/files/n", &bare, "x")).await;
    assert_eq!(
        answer.problem(),
        "400 invalid_form: the form has no valid `boundary`"
    );
    echo.until_idle().await;
}
