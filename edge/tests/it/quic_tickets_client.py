"""An HTTP/3 client (aioquic) that keeps its session tickets by server name.

Reads lines of {"port", "name"}, prints for each {"status", "resumed"} or "refused".
"""

import asyncio
import json
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted

PATIENCE = 60


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.resumed = None
        self.status = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.resumed = event.session_resumed
        if isinstance(event, ConnectionTerminated) and not self.status.done():
            self.status.set_exception(ConnectionError(event.reason_phrase))
        for http in self.http.handle_event(event):
            if isinstance(http, HeadersReceived) and not self.status.done():
                self.status.set_result(int(dict(http.headers)[b":status"]))


async def visit(port, name, tickets):
    configuration = QuicConfiguration(alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE, server_name=name)
    configuration.session_ticket = tickets.get(name)
    keep = lambda ticket: tickets.__setitem__(name, ticket)
    protocol = connect(
        "127.0.0.1", port, configuration=configuration, create_protocol=Client, session_ticket_handler=keep
    )
    async with protocol as client:
        stream = client._quic.get_next_available_stream_id()
        head = [(":method", "GET"), (":scheme", "https"), (":authority", name), (":path", "/echo")]
        client.http.send_headers(stream, [(key.encode(), value.encode()) for key, value in head], end_stream=True)
        client.transmit()
        return {"status": await client.status, "resumed": client.resumed}


async def main():
    tickets = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        wanted = json.loads(line)
        try:
            result = await asyncio.wait_for(visit(wanted["port"], wanted["name"], tickets), PATIENCE)
        except ConnectionError:
            result = "refused"
        print(json.dumps(result), flush=True)


asyncio.run(main())
