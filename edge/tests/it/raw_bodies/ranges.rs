//! Ranges and conditions, from the service and from the cache.

use http::Method;

use super::World;
use crate::client::Protocol;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_answer_ranges_and_conditions() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let path = "/v1/files/a?bytes=200000&content_type=text/x";
        let whole = client.get(path).await;
        assert_eq!(
            (whole.status, whole.header("content-type")),
            (200, Some("text/x"))
        );
        assert_eq!(whole.header("content-length"), Some("200000"));
        assert_eq!(whole.body, palisade_echo::piece(0, 200_000));

        let head = client
            .send(Method::HEAD, path, &[], "")
            .await
            .expect("an answer");
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some("200000"))
        );

        let part = client
            .get_with(path, &[("range", "bytes=1000-99999")])
            .await;
        assert_eq!(
            (part.status, part.header("content-length")),
            (206, Some("99000"))
        );
        assert_eq!(
            part.header("content-range"),
            Some("bytes 1000-99999/200000")
        );
        assert_eq!(part.body, palisade_echo::piece(1000, 100_000));

        let past = client.get_with(path, &[("range", "bytes=200000-")]).await;
        past.assert_problem(416, "out_of_range");
        assert_eq!(past.header("content-range"), Some("bytes */200000"));

        let same = client
            .get_with(path, &[("if-none-match", "\"a-200000\"")])
            .await;
        assert_eq!((same.status, same.body.len()), (304, 0));
        assert_eq!(same.header("etag"), Some("\"a-200000\""));
    }
    world.until_under_way(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_keeps_no_part_and_cuts_parts_from_the_whole() {
    let world = World::start().await;
    let path = "/v1/files/kept?bytes=1000";
    let mut client = world.client(Protocol::H2).await;
    let range = [("range", "bytes=10-19")];
    let part = client.get_with(path, &range).await;
    assert_eq!(
        (part.status, &*part.body),
        (206, &*palisade_echo::piece(10, 20))
    );
    // A part that was kept as the whole would be the answer now.
    let whole = client.get(path).await;
    assert_eq!(
        (whole.status, &*whole.body),
        (200, &*palisade_echo::piece(0, 1000))
    );
    let begun = world.echo.begun();
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let part = client.get_with(path, &range).await;
        assert_eq!(
            (part.status, &*part.body),
            (206, &*palisade_echo::piece(10, 20))
        );
        assert_eq!(part.header("content-range"), Some("bytes 10-19/1000"));
        let same = client
            .get_with(path, &[("if-none-match", "\"kept-1000\"")])
            .await;
        assert_eq!((same.status, same.body.len()), (304, 0));
        let past = client.get_with(path, &[("range", "bytes=1000-")]).await;
        assert_eq!(past.status, 416);
    }
    assert_eq!(world.echo.begun(), begun, "the cache answers");
}
