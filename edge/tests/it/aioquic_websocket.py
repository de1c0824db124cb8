"""A WebSocket over HTTP/3 (RFC 9220) by an independent client (aioquic), whose QPACK writes
`:protocol` in Huffman code. Prints one JSON object.

Usage: aioquic_websocket.py PORT CA_FILE PATH.
"""

import asyncio
import json
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection, Setting
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

MASK = b"\x01\x02\x03\x04"


def frame(opcode, payload):
    masked = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + MASK + masked


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.events = asyncio.Queue()

    def quic_event_received(self, event):
        for http_event in self.http.handle_event(event):
            self.events.put_nowait(http_event)

    async def next(self, kind):
        while True:
            event = await asyncio.wait_for(self.events.get(), 30)
            if isinstance(event, kind):
                return event

    def data(self, stream, data, end=False):
        self.http.send_data(stream, data, end)
        self.transmit()


async def main(port, ca_file, path):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_REQUIRED)
    configuration.load_verify_locations(ca_file)
    result = {}
    async with connect("localhost", port, configuration=configuration, create_protocol=Client) as client:
        stream = client._quic.get_next_available_stream_id()
        client.http.send_headers(
            stream,
            [
                (b":method", b"CONNECT"),
                (b":scheme", b"https"),
                (b":authority", b"localhost:%d" % port),
                (b":path", path.encode()),
                (b":protocol", b"websocket"),
                (b"sec-websocket-version", b"13"),
            ],
        )
        client.transmit()
        head = dict((await client.next(HeadersReceived)).headers)
        result["setting"] = client.http.received_settings.get(Setting.ENABLE_CONNECT_PROTOCOL)
        result["status"] = int(head[b":status"])
        client.data(stream, frame(0x1, b"hello"))
        result["echo"] = (await client.next(DataReceived)).data.hex()
        client.data(stream, frame(0x8, b"\x03\xe8"))
        last = await client.next(DataReceived)
        result["close"] = last.data.hex()
        while not last.stream_ended:
            last = await client.next(DataReceived)
        result["ended"] = True
    print(json.dumps(result))


asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
