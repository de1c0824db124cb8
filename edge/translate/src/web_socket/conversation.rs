//! An open WebSocket and its call: what the client says, what the service says, and that both live.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tonic::Code;

use super::call::{Call, Said};
use super::ending::{Ending, Socket};
use super::messages::{Heard, Messages};
use crate::options::Options;
use crate::status::failure::{self, reject};
use crate::upstream::{Failure, Part};

/// Read at a time, in bytes; allocated for each connection as long as it lasts.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// Pings and their answers beside a message in the buffer of what is written, in bytes.
const CONTROL_BYTES_MAX: usize = 4 * 1024;

/// How long a client that is sent Pings may be silent before it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

pub(super) struct Conversation {
    messages: Messages,
    call: Call,
    sender: Option<Sender<Said>>,
}

/// Signs of the client's life, from the side that hears them to the side that asks for them.
#[derive(Default)]
struct Life {
    heard: AtomicBool,
    /// Its frames wait: nothing could be heard.
    deaf: AtomicBool,
}

impl Conversation {
    pub(super) fn new(messages: Messages, call: Call, sender: Option<Sender<Said>>) -> Self {
        Self {
            messages,
            call,
            sender,
        }
    }

    /// Until either side ends it.
    pub(super) async fn run(mut self, upgraded: OnUpgrade) {
        let Ok(io) = upgraded.await else {
            return;
        };
        let config = Some(config(self.messages.options()));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, config).await;
        let (mut sink, mut stream) = socket.split();
        let life = Life::default();
        let ending = tokio::select! {
            ending = hear(&self.messages, &mut stream, self.sender.take(), &life) => ending,
            ending = tell(&self.messages, &mut self.call, &mut sink, &life) => ending,
        };
        // Nothing more is wanted of the service, however long the client takes to hear why.
        drop(self);
        if let Ok(socket) = sink.reunite(stream) {
            ending.tell(socket).await;
        }
    }
}

/// Bounds what one connection holds.
fn config(options: &Options) -> WebSocketConfig {
    let message_max = options
        .json_response_bytes_max
        .max(options.response_message_bytes_max);
    WebSocketConfig::default()
        .max_message_size(Some(options.request_message_bytes_max))
        .max_frame_size(Some(options.request_message_bytes_max))
        .read_buffer_size(READ_BUFFER_BYTES)
        // Each message is written at once.
        .write_buffer_size(0)
        .max_write_buffer_size(message_max.saturating_add(CONTROL_BYTES_MAX))
}

/// From the client to the call.
async fn hear(
    messages: &Messages,
    stream: &mut SplitStream<Socket>,
    mut sender: Option<Sender<Said>>,
    life: &Life,
) -> Ending {
    loop {
        match pass(messages, stream, sender.as_ref(), life).await {
            Ok(true) => sender = None,
            Ok(false) => {}
            Err(ending) => return ending,
        }
    }
}

/// One frame; true where it is the last one that may be a message.
async fn pass(
    messages: &Messages,
    stream: &mut SplitStream<Socket>,
    sender: Option<&Sender<Said>>,
    life: &Life,
) -> Result<bool, Ending> {
    let is_one = !messages.rpc().client_streams;
    let room = match sender {
        None => None,
        Some(sender) => {
            life.deaf.store(true, Ordering::Relaxed);
            // None where the service takes no more: what it answers says why.
            let room = sender.reserve().await.ok();
            life.deaf.store(false, Ordering::Relaxed);
            room
        }
    };
    let frame = next(stream, life).await?;
    let said = match messages.heard(&frame)? {
        Heard::End if is_one && sender.is_some() => return Err(expected_one()),
        Heard::Message(_) if sender.is_none() => return Err(ended()),
        Heard::End => Said::End,
        Heard::Message(bytes) if is_one => Said::Last(bytes),
        Heard::Message(bytes) => Said::Message(bytes),
    };
    let is_last = !matches!(said, Said::Message(_));
    if let Some(room) = room {
        room.send(said);
    }
    Ok(is_last)
}

/// The next frame that is not about the connection; tungstenite answers Pings by itself.
async fn next(stream: &mut SplitStream<Socket>, life: &Life) -> Result<Message, Ending> {
    loop {
        let frame = stream.next().await;
        life.heard.store(true, Ordering::Relaxed);
        match frame {
            Some(Ok(frame @ (Message::Text(_) | Message::Binary(_)))) => return Ok(frame),
            Some(Ok(Message::Close(_))) | None => return Err(Ending::Client),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(Ending::unreadable(&error)),
        }
    }
}

/// From the call to the client.
async fn tell(
    messages: &Messages,
    call: &mut Call,
    sink: &mut SplitSink<Socket, Message>,
    life: &Life,
) -> Ending {
    let rpc = messages.rpc();
    let heartbeat = messages.options().sse.heartbeat;
    let mut heard_at = Instant::now();
    let mut told = 0_u64;
    loop {
        let part = tokio::select! {
            biased;
            part = call.next() => part,
            () = sleep(heartbeat) => {
                if life.heard.swap(false, Ordering::Relaxed) || life.deaf.load(Ordering::Relaxed) {
                    heard_at = Instant::now();
                } else if heard_at.elapsed() > SILENCE_MAX {
                    return Ending::close(CloseCode::Away, "no answer to pings");
                }
                if sink.send(Message::Ping(Bytes::new())).await.is_err() {
                    return Ending::Client;
                }
                continue;
            }
        };
        let frame = match part {
            Some(Ok(Part::Message(frame))) => frame,
            Some(Ok(Part::End(_))) if rpc.server_streams || told == 1 => return Ending::success(),
            Some(Err(failure)) => return Ending::rejected(&reject(rpc, failure)),
            Some(Ok(Part::End(_))) | None => {
                let failure = Failure::Protocol("ok without its one message".to_owned());
                return Ending::rejected(&failure::bad_gateway(rpc, failure::INVALID, &failure));
            }
        };
        told += 1;
        let message = match messages.told(frame) {
            Ok(message) => message,
            Err(ending) => return ending,
        };
        if sink.send(message).await.is_err() {
            return Ending::Client;
        }
    }
}

fn expected_one() -> Ending {
    Ending::failed(Code::InvalidArgument, "one message is expected")
}

fn ended() -> Ending {
    Ending::failed(Code::InvalidArgument, "no more messages are expected")
}
