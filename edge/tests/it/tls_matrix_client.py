"""One request for each cell of the TLS matrix, by clients that send server names as they are told.

Usage: tls_matrix_client.py PORT CERTIFICATE KEY < CELLS. A cell is an object with protocol (h1, h2,
h3), server_name (null for none), authority, certificate (boolean) and split (boolean); the answer
is a list of outcomes: a status, or "refused" where no answer came.
"""

import asyncio
import json
import socket
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived

PORT, CERTIFICATE, KEY = int(sys.argv[1]), sys.argv[2], sys.argv[3]
PATIENCE = 60
PATH = "/echo"
# Bytes of the ClientHello in each TLS record, each record in a segment of its own.
FRAGMENT = 40


class Stream:
    """TLS over memory, so that the first flight can be cut into pieces."""

    def __init__(self, cell, protocol):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        if cell["certificate"]:
            context.load_cert_chain(CERTIFICATE, KEY)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=cell["server_name"])
        self.socket = socket.create_connection(("127.0.0.1", PORT), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        hello = self.outgoing.read()
        if cell["server_name"] is not None:
            assert cell["server_name"].encode() in hello, "the server name is not sent as written"
        for piece in self.fragments(hello) if cell["split"] else [hello]:
            self.socket.sendall(piece)
        self.run(self.tls.do_handshake)

    def fragments(self, record):
        kind, version, payload = record[:1], record[1:3], record[5:]
        assert len(payload) == int.from_bytes(record[3:5], "big"), "one record"
        assert len(payload) > 2 * FRAGMENT, "several fragments"
        for at in range(0, len(payload), FRAGMENT):
            piece = payload[at : at + FRAGMENT]
            yield kind + version + len(piece).to_bytes(2, "big") + piece

    def run(self, step):
        while True:
            try:
                result = step()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                data = self.socket.recv(65536)
                if not data:
                    raise ConnectionError("closed")
                self.incoming.write(data)

    def flush(self):
        data = self.outgoing.read()
        if data:
            self.socket.sendall(data)

    def write(self, data):
        self.run(lambda: self.tls.write(data))

    def read(self):
        data = self.run(lambda: self.tls.read(65536))
        if not data:
            raise ConnectionError("closed")
        return data


def h1(cell):
    stream = Stream(cell, "http/1.1")
    stream.write(f"GET {PATH} HTTP/1.1\r\nhost: {cell['authority']}\r\nconnection: close\r\n\r\n".encode())
    head = b""
    while b"\r\n" not in head:
        head += stream.read()
    return int(head.split(b" ")[1])


def h2(cell):
    stream = Stream(cell, "h2")
    assert stream.tls.selected_alpn_protocol() == "h2"
    # The library would write the authority in lower case.
    connection = H2Connection(H2Configuration(header_encoding="utf-8", normalize_outbound_headers=False))
    connection.initiate_connection()
    head = [(":method", "GET"), (":scheme", "https"), (":authority", cell["authority"]), (":path", PATH)]
    connection.send_headers(1, head, end_stream=True)
    stream.write(connection.data_to_send())
    while True:
        for event in connection.receive_data(stream.read()):
            if isinstance(event, ResponseReceived):
                return int(dict(event.headers)[":status"])


class H3(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.status = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated) and not self.status.done():
            self.status.set_exception(ConnectionError(event.reason_phrase))
        for http in self.http.handle_event(event):
            if isinstance(http, HeadersReceived) and not self.status.done():
                self.status.set_result(int(dict(http.headers)[b":status"]))


async def h3(cell):
    # An address makes aioquic send no name. Names that nobody speaks fill a second datagram.
    filling = [f"filling-{number:03}" for number in range(200)] if cell["split"] else []
    configuration = QuicConfiguration(alpn_protocols=["h3", *filling], verify_mode=ssl.CERT_NONE)
    configuration.server_name = cell["server_name"] or "127.0.0.1"
    async with connect("127.0.0.1", PORT, configuration=configuration, create_protocol=H3) as client:
        stream = client._quic.get_next_available_stream_id()
        head = [(":method", "GET"), (":scheme", "https"), (":authority", cell["authority"]), (":path", PATH)]
        client.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in head], end_stream=True)
        client.transmit()
        return await client.status


async def outcome(cell):
    try:
        if cell["protocol"] == "h3":
            return await asyncio.wait_for(h3(cell), PATIENCE)
        return (h1 if cell["protocol"] == "h1" else h2)(cell)
    except TimeoutError:
        return "timed out"
    except (ConnectionError, ssl.SSLError):
        return "refused"


async def main():
    cells = json.load(sys.stdin)
    json.dump([await outcome(cell) for cell in cells], sys.stdout)


asyncio.run(main())
