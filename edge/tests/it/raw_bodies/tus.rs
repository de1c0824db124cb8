//! A resumable upload (tus 1.0.0) that is broken off and resumed.

use bytes::Bytes;
use http::Method;

use super::World;
use crate::client::Protocol;
use crate::harness::waiting::until;

const PATCH: (&str, &str) = ("content-type", "application/offset+octet-stream");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_where_it_broke_off() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let asked = client
            .send(Method::OPTIONS, "/v1/tus", &[], "")
            .await
            .expect("an answer");
        assert_eq!(
            (asked.status, asked.header("tus-version")),
            (204, Some("1.0.0"))
        );
        let length = [("upload-length", "300000")];
        let created = client
            .send(Method::POST, "/v1/tus", &length, "")
            .await
            .expect("an answer");
        assert_eq!(
            (created.status, created.header("tus-resumable")),
            (201, Some("1.0.0"))
        );
        let upload = created.header("location").expect("a place").to_owned();

        let headers = [PATCH, ("upload-offset", "0")];
        let opened = client.open(Method::PATCH, &upload, &headers, true).await;
        let (mut body, pending) = opened.expect("a stream");
        body.send(palisade_echo::piece(0, 100_000))
            .await
            .expect("the edge reads");
        let mut other = world.client(protocol).await;
        until("the first part", || {
            let upload = upload.clone();
            let mut other = other.clone();
            async move {
                let looked = other
                    .send(Method::HEAD, &upload, &[], "")
                    .await
                    .expect("an answer");
                (looked.header("upload-offset") == Some("100000")).then_some(())
            }
        })
        .await;
        body.abort();
        pending.abort();
        world.until_under_way(0).await;

        let headers = [PATCH, ("upload-offset", "99999")];
        let wrong = other
            .send(Method::PATCH, &upload, &headers, Bytes::from_static(b"x"))
            .await;
        wrong
            .expect("an answer")
            .assert_problem(409, "failed_precondition");
        let headers = [PATCH, ("upload-offset", "100000")];
        let rest = palisade_echo::piece(100_000, 300_000);
        let written = other
            .send(Method::PATCH, &upload, &headers, rest)
            .await
            .expect("an answer");
        assert_eq!(
            (written.status, written.header("upload-offset")),
            (204, Some("300000"))
        );
        assert_eq!(written.body.len(), 0);
    }
}
