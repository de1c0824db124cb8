//! Who gets a WebSocket connection, and what goes through it.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;

use super::World;
use crate::client::Protocol;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_every_kind_and_size() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.open(protocol, "/open/echo", &[]).await;
        client.echo(Message::text("hello")).await;
        client.echo(Message::text("")).await;
        for size in [1, 125, 126, 65_535, 65_536, 16 << 20] {
            client.echo(Message::binary(vec![42_u8; size])).await;
        }
        client.send(Message::Ping(Bytes::from_static(b"p"))).await;
        let pong = client.next().await;
        assert_eq!(pong, Some(Message::Pong(Bytes::from_static(b"p"))));
        assert_eq!(
            client.close().await,
            None,
            "{protocol:?}: Close without a code"
        );
        let seen = world
            .origin
            .wait("the close", |seen| seen.ended && seen.close.is_some())
            .await;
        assert_eq!(seen.close, Some(1005));
    }
}
