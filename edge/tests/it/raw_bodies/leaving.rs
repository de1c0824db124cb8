//! Who ends a transfer before its end, and what becomes of the other side.

use bytes::Bytes;
use http::Method;

use super::World;
use crate::client::Protocol;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_cancels_the_call() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let opened = client.open(Method::PUT, "/v1/files/a", &[], true).await;
        let (mut body, pending) = opened.expect("a stream");
        body.send(Bytes::from_static(b"x"))
            .await
            .expect("the edge reads");
        world.until_under_way(1).await;
        body.abort();
        pending.abort();
        world.until_under_way(0).await;

        let mut client = world.client(protocol).await;
        let target = "/v1/files/a?bytes=1099511627776";
        let (_, pending) = client
            .open(Method::GET, target, &[], false)
            .await
            .expect("a stream");
        let (head, mut download) = pending.head().await.expect("a head");
        assert_eq!(head.status, 200, "{protocol:?}");
        assert!(download.chunk().await.expect("a piece").is_some());
        assert_eq!(world.echo.under_way(), 1, "{protocol:?}");
        download.abort();
        client.disconnect();
        world.until_under_way(0).await;
    }
}

/// The service stops the upload, so nothing of the connection to the translation is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_a_service_that_does_not_read_cancels_too() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let opened = client
            .open(Method::PUT, "/v1/files/a", &[("x-hang", "1")], true)
            .await;
        let (mut body, pending) = opened.expect("a stream");
        // More than the windows on the way to the service, so that it stops on this hop.
        for _ in 0..16 {
            body.send(palisade_echo::piece(0, 16 * 1024))
                .await
                .expect("the edge reads");
        }
        world.until_under_way(1).await;
        body.abort();
        pending.abort();
        world.until_under_way(0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_answers_early_is_heard() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let opened = client
            .open(Method::PUT, "/v1/files/a", &[("x-refuse", "1")], true)
            .await;
        let (mut body, pending) = opened.expect("a stream");
        body.send(Bytes::from_static(b"x"))
            .await
            .expect("the edge reads");
        // The upload has no end, and yet there is an answer.
        let (head, _) = pending.head().await.expect("an answer");
        assert_eq!(head.status, 403, "{protocol:?}");
        world.until_under_way(0).await;

        // A body that is longer than all that waits on the way.
        let mut client = world.client(protocol).await;
        let long = vec![1; 8 << 20];
        let headers = [("x-refuse", "1")];
        let answer = client
            .send(Method::PUT, "/v1/files/a", &headers, long)
            .await;
        answer
            .expect("an answer")
            .assert_problem(403, "permission_denied");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_an_upload_is_told() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let form = [("content-type", "multipart/form-data; boundary=b")];
        for length in [10, 8 << 20] {
            let mut client = world.client(protocol).await;
            let body = [b"--b\r\n".as_slice(), &vec![b'x'; length]].concat();
            let answer = client.send(Method::PUT, "/v1/files/a", &form, body).await;
            answer
                .expect("an answer")
                .assert_problem(400, "invalid_form");
        }
    }
    world.until_under_way(0).await;
}

/// Only the translation says `x-http-*` to services.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_call_cannot_say_how_http_asked() {
    let world = World::start().await;
    for protocol in [Protocol::H2, Protocol::H3] {
        let mut client = world.client(protocol).await;
        let headers = [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("x-http-path", "/forged"),
            ("x-honest", "yes"),
        ];
        let target = "/palisade.echo.v1.EchoService/Echo";
        let empty = Bytes::from_static(&[0; 5]);
        let answer = client
            .send(Method::POST, target, &headers, empty)
            .await
            .expect("an answer");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("x-honest"), "{text}");
        assert!(!text.contains("x-http-"), "{text}");
    }
}
