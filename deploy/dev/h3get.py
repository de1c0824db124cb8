#!/usr/bin/env python3
"""GET a URL over HTTP/3 and print status, headers and body: for curls that cannot.

    .palisade/venv/bin/python deploy/dev/h3get.py https://localhost:8443/ --ca certs/dev/ca.pem -H 'name: value'

`make setup-tests` installs the library it needs (aioquic).
"""

import argparse
import asyncio
import sys
import urllib.parse

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

ANSWER_TIMEOUT_S = 30


class Client(QuicConnectionProtocol):
    """One request on one connection."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.headers, self.body = [], b""
        self.ended = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event):
        for part in self.http.handle_event(event):
            if isinstance(part, HeadersReceived):
                self.headers += part.headers
            elif isinstance(part, DataReceived):
                self.body += part.data
            if getattr(part, "stream_ended", False) and not self.ended.done():
                self.ended.set_result(None)

    async def get(self, url, headers):
        """Send the request and wait for the whole answer."""
        target = url.path or "/"
        if url.query:
            target += "?" + url.query
        pseudo = [(":method", "GET"), (":scheme", "https"), (":authority", url.netloc), (":path", target)]
        fields = [(name.encode(), value.encode()) for name, value in pseudo + headers]
        stream = self._quic.get_next_available_stream_id()
        self.http.send_headers(stream, fields, end_stream=True)
        self.transmit()
        await asyncio.wait_for(self.ended, ANSWER_TIMEOUT_S)


async def main():
    """Parse the command line, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--ca", required=True, help="certificate authority to trust, PEM")
    parser.add_argument("-H", dest="headers", action="append", default=[], metavar="NAME: VALUE")
    args = parser.parse_args()
    url = urllib.parse.urlsplit(args.url)
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (h.partition(":") for h in args.headers)]
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=url.hostname)
    configuration.load_verify_locations(args.ca)
    async with connect(url.hostname, url.port or 443, configuration=configuration, create_protocol=Client) as client:
        await client.get(url, headers)
        for name, value in client.headers:
            label = "HTTP/3" if name == b":status" else name.decode() + ":"
            print(label, value.decode())
        print()
        sys.stdout.write(client.body.decode(errors="replace") + "\n")


asyncio.run(main())
