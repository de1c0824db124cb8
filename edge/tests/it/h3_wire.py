"""HTTP/3 by hand over aioquic's QUIC: frames and field lines as bytes, and what came back."""

import asyncio
import ssl

import pylsqpack
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration

DATA, HEADERS, CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID = 0x0, 0x1, 0x3, 0x4, 0x5, 0x7, 0xD
CONTROL, PUSH, ENCODER, DECODER = b"\x00", b"\x01", b"\x02", b"\x03"
# Reserved to be ignored (RFC 9114, 7.2.8 and 6.2.3).
GREASE = 0x21 + 0x1F * 1000
# Longer than anything takes on a loaded machine.
PATIENCE = 60


def varint(value):
    for size, mark in ((1, 0), (2, 1), (4, 2), (8, 3)):
        if value < 1 << (8 * size - 2):
            return (value | mark << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(value)


def frame(kind, payload=b""):
    return varint(kind) + varint(len(payload)) + payload


def prefixed(pattern, bits, value):
    """An integer behind `bits` free bits (RFC 7541, 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([pattern | value])
    out, value = bytearray([pattern | most]), value - most
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes(out + bytes([value]))


def line(name, value):
    """A literal field line with a literal name (RFC 9204, 4.5.6)."""
    name, value = name.encode("latin-1"), value.encode("latin-1")
    return prefixed(0x20, 3, len(name)) + name + prefixed(0x00, 7, len(value)) + value


def section(fields):
    return b"\x00\x00" + b"".join(line(name, value) for name, value in fields)


def headers(fields):
    return frame(HEADERS, section(fields))


def head(path, method="GET", authority="localhost", more=()):
    return [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path), *more]


class Stream:
    def __init__(self):
        self.data, self.reset, self.stopped, self.over = b"", None, None, asyncio.Event()

    def frames(self):
        at, found = 0, []
        while at < len(self.data):
            numbers = []
            for _ in range(2):
                size = 1 << (self.data[at] >> 6)
                numbers.append(int.from_bytes(self.data[at : at + size], "big") & (1 << (8 * size - 2)) - 1)
                at += size
            found.append((numbers[0], self.data[at : at + numbers[1]]))
            at += numbers[1]
        return found

    def status(self):
        for kind, payload in self.frames():
            if kind == HEADERS:
                return dict(pylsqpack.Decoder(0, 0).feed_header(0, payload)[1])[b":status"].decode()
        return None

    def body(self):
        return b"".join(payload for kind, payload in self.frames() if kind == DATA)


class Raw(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.streams, self.closed, self.over = {}, None, asyncio.Event()

    def stream(self, number):
        return self.streams.setdefault(number, Stream())

    def quic_event_received(self, event):
        if isinstance(event, events.ConnectionTerminated):
            # A frame type is given only with an error of the transport (RFC 9000, 19.19).
            level = "close" if event.frame_type is None else "transport"
            self.closed = f"{level}:{event.error_code:#x}"
            self.over.set()
            for stream in self.streams.values():
                stream.over.set()
        elif isinstance(event, events.StreamDataReceived):
            stream = self.stream(event.stream_id)
            stream.data += event.data
            if event.end_stream:
                stream.over.set()
        elif isinstance(event, events.StreamReset):
            self.stream(event.stream_id).reset = event.error_code
            self.stream(event.stream_id).over.set()
        elif isinstance(event, events.StopSendingReceived):
            self.stream(event.stream_id).stopped = event.error_code

    def send(self, number, data=b"", end=False):
        if self.closed is None:
            self._quic.send_stream_data(number, data, end)
            self.transmit()

    def uni(self, data, end=False):
        number = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self.send(number, data, end)
        return number

    def request(self, data, end=True):
        number = self._quic.get_next_available_stream_id()
        self.stream(number)
        self.send(number, data, end)
        return number

    def settings(self, payload=b""):
        return self.uni(CONTROL + frame(SETTINGS, payload))

    async def outcome(self, number):
        """How a request ended: `200`, `reset:0x10e` or, with its connection, `close:0x105`."""
        stream = self.stream(number)
        if self.closed is None:
            await asyncio.wait_for(stream.over.wait(), PATIENCE)
        if self.closed is not None:
            return self.closed
        return stream.status() if stream.reset is None else f"reset:{stream.reset:#x}"

    async def ask(self, data):
        return await self.outcome(self.request(data))

    async def end(self):
        """How the connection ended."""
        await asyncio.wait_for(self.over.wait(), PATIENCE)
        return self.closed


def configuration(authority_file, alpn="h3"):
    made = QuicConfiguration(is_client=True, alpn_protocols=[alpn], server_name="localhost")
    made.load_verify_locations(cafile=authority_file)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def dial(port, made, create_protocol=Raw, **more):
    return connect("127.0.0.1", port, configuration=made, create_protocol=create_protocol, **more)
