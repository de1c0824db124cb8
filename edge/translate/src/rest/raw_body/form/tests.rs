use super::*;
use proptest::prelude::*;

/// What a body means, however it is cut: names of parts with their data.
fn read(body: &[u8], cut: usize) -> Result<Vec<(String, Vec<u8>)>, FormError> {
    let mut form = Form::of("multipart/form-data; boundary=b")
        .unwrap()
        .unwrap();
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    for chunk in body.chunks(cut) {
        form.push(Bytes::copy_from_slice(chunk));
        while let Some(event) = form.next()? {
            match event {
                Event::Part(part) => parts.push((part.name, Vec::new())),
                Event::Data(data) => parts.last_mut().unwrap().1.extend_from_slice(&data),
            }
        }
    }
    match form.is_whole() {
        true => Ok(parts),
        false => Err(FormError::Incomplete),
    }
}

fn written(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, data) in parts {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    body
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_parts(
        parts in prop::collection::vec(
            ("[a-z]{1,8}", prop::collection::vec(prop::sample::select(b"\r\n-bx".to_vec()), 0..40)),
            1..5,
        ),
        cut in 1_usize..60,
    ) {
        prop_assume!(parts.iter().all(|(_, data)| {
            memmem::find(&[b"\r\n", data.as_slice(), b"\r\n"].concat(), b"\r\n--b").is_none()
        }));
        prop_assert_eq!(read(&written(&parts), cut), Ok(parts));
    }

    #[test]
    fn any_bytes_are_read_or_refused_whatever_the_cut(
        tail in "(--b|\r\n|--|: |x|form-data; name=a|content-disposition)*",
        cut in 1_usize..20,
    ) {
        let body = format!("--b\r\n{tail}");
        let whole = read(body.as_bytes(), usize::MAX);
        prop_assert_eq!(read(body.as_bytes(), cut), whole);
    }
}

#[test]
fn what_is_no_form_is_refused() {
    let head = |head: &str| format!("--b\r\n{head}\r\n\r\nx\r\n--b--");
    let disposition = "content-disposition: form-data; name=a";
    let long = "x".repeat(HEAD_BYTES_MAX);
    let cases = [
        (head(""), FormError::Disposition),
        (
            head("content-disposition: attachment; name=a"),
            FormError::Disposition,
        ),
        (
            head("content-disposition: form-data"),
            FormError::Disposition,
        ),
        (
            head("content-disposition: form-data; name=\"a"),
            FormError::Disposition,
        ),
        (
            head("content-disposition: form-data; name=a; name=b"),
            FormError::Disposition,
        ),
        (
            head(&format!("{disposition}\r\n{disposition}")),
            FormError::Head,
        ),
        (head("no colon"), FormError::Head),
        (
            head(&format!(
                "{disposition}\r\ncontent-transfer-encoding: base64"
            )),
            FormError::Encoding,
        ),
        (
            head(&format!("{disposition}{}", "n".repeat(NAME_BYTES_MAX))),
            FormError::LongName,
        ),
        (
            head(&format!("{disposition}\r\nx: {long}")),
            FormError::LongHead,
        ),
        (long.clone(), FormError::Preamble),
        (format!("--b\r\nx: {long}"), FormError::LongHead),
        ("--bb\r\n".to_owned(), FormError::AfterBoundary),
        ("--b\r\n".to_owned(), FormError::Incomplete),
        (
            format!("--b\r\n{disposition}\r\n\r\nx\r\n--b"),
            FormError::Incomplete,
        ),
        (String::new(), FormError::Incomplete),
    ];
    for (body, error) in cases {
        assert_eq!(read(body.as_bytes(), 7), Err(error), "{body:.100}");
        assert_eq!(read(body.as_bytes(), usize::MAX), Err(error), "{body:.100}");
    }
    let many = vec![("a".to_owned(), Vec::new()); PARTS_MAX + 1];
    assert_eq!(read(&written(&many), 100), Err(FormError::TooManyParts));
}

#[test]
fn boundaries_and_names_as_they_are_written() {
    let boundary = |text: &str| Form::of(text).map(|form| form.map(|form| form.delimiter));
    assert_eq!(boundary("text/plain; boundary=b"), None);
    let found = |text: &str| Some(Ok(format!("\r\n--{text}").into_bytes()));
    assert_eq!(
        boundary("Multipart/Form-Data;charset=x; Boundary=\"a b\""),
        found("a b")
    );
    assert_eq!(boundary("multipart/form-data; boundary=a;x=y"), found("a"));
    for bad in [
        "",
        "; boundary=",
        "; boundary=\"a",
        "; boundary=a; boundary=b",
    ] {
        let refused = boundary(&format!("multipart/form-data{bad}"));
        assert_eq!(refused, Some(Err(FormError::Boundary)), "{bad}");
    }
    let part = part(b"Content-Disposition: form-data; name=\"a \\\"b\\\";c\"; filename=\"d\"\r\nContent-Type: text/html\r\n\r\n");
    let expected = Part {
        name: "a \"b\";c".to_owned(),
        has_filename: true,
        content_type: Some("text/html".to_owned()),
    };
    assert_eq!(part, Ok(expected));
}
