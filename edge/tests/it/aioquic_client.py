"""An independent HTTP/3 client (aioquic) for the edge: prints one JSON object, scenario to result.

Usage: aioquic_client.py PORT CA_FILE TOKEN. Bodies are known by position; the origin and the
Rust side make the same ones.
"""

import asyncio
import json
import ssl
import sys
from collections import defaultdict

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

MEBIBYTE = 1024 * 1024
LARGE = 50 * MEBIBYTE
PIECE = 256 * 1024
PERIOD = 65521
PATTERN = bytes(((at * 2654435761) % 2**32 >> 13) & 0xFF for at in range(PERIOD))


def pattern(offset, length):
    start = offset % PERIOD
    repeated = PATTERN * (2 + length // PERIOD)
    return repeated[start : start + length]


class Answer:
    def __init__(self):
        self.heads = []
        self.bytes = 0
        self.intact = True
        self.body = b""
        self.reset = None
        self.ended = asyncio.Event()
        self.begun = asyncio.Event()

    def feed(self, data):
        if data != pattern(self.bytes, len(data)):
            self.intact = False
        self.bytes += len(data)
        if len(self.body) < 65536:
            self.body += data

    def result(self):
        head = dict(self.heads[0]) if self.heads else {}
        return {
            "status": int(head.get(":status", 0)),
            "headers": head,
            "trailers": dict(self.heads[1]) if len(self.heads) > 1 else {},
            "bytes": self.bytes,
            "intact": self.intact,
            "body": self.body[:4096].decode("utf-8", "replace"),
            "reset": self.reset,
        }


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        # The library compares content-length with the body of HEAD too, which has none (RFC 9110, 9.3.2).
        check = self.http._check_content_length
        self.http._check_content_length = lambda stream: None if stream.stream_id in self.heads else check(stream)
        self.heads = set()
        self.answers = defaultdict(Answer)
        self.terminated = None

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.terminated = event.reason_phrase or str(event.error_code)
            for answer in self.answers.values():
                answer.reset = answer.reset if answer.ended.is_set() else "closed: " + self.terminated
                answer.begun.set()
                answer.ended.set()
        if isinstance(event, StreamReset):
            answer = self.answers[event.stream_id]
            answer.reset = event.error_code
            answer.begun.set()
            answer.ended.set()
        for http_event in self.http.handle_event(event):
            answer = self.answers[http_event.stream_id]
            if isinstance(http_event, HeadersReceived):
                pairs = [(name.decode(), value.decode()) for name, value in http_event.headers]
                answer.heads.append(pairs)
                answer.begun.set()
            elif isinstance(http_event, DataReceived):
                answer.feed(http_event.data)
            if getattr(http_event, "stream_ended", False):
                answer.ended.set()

    def begin(self, method, path, headers=(), end=True):
        stream = self._quic.get_next_available_stream_id()
        if method == "HEAD":
            self.heads.add(stream)
        fields = [(":method", method), (":scheme", "https"), (":authority", self.authority), (":path", path)]
        fields += list(headers)
        encoded = [(name.encode(), value.encode()) for name, value in fields]
        self.http.send_headers(stream, encoded, end_stream=end)
        self.transmit()
        return stream

    async def send(self, stream, data, end):
        self.http.send_data(stream, data, end)
        self.transmit()
        # Let acknowledgements in: the library queues without a bound of its own.
        while self.queued(stream) > 4 * PIECE:
            await asyncio.sleep(0.001)

    def queued(self, stream):
        known = self._quic._streams.get(stream)
        return len(known.sender._buffer) if known else 0

    async def whole(self, method, path, headers=(), body=b""):
        stream = self.begin(method, path, headers, end=not body)
        if body:
            await self.send(stream, body, True)
        await self.answers[stream].ended.wait()
        return self.answers[stream].result()


async def upload(client, declared):
    headers = [("content-length", str(LARGE))] if declared else []
    stream = client.begin("POST", "/count", headers, end=False)
    for offset in range(0, LARGE, PIECE):
        await client.send(stream, pattern(offset, PIECE), offset + PIECE >= LARGE)
    await client.answers[stream].ended.wait()
    return client.answers[stream].result()


async def abort(client, path):
    """Stop reading in the middle of an answer; the connection must go on."""
    stream = client.begin("GET", path)
    await client.answers[stream].begun.wait()
    client._quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
    client.transmit()
    return await client.whole("GET", "/echo/after-abort")


async def run(port, authority_file, token):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
    configuration.load_verify_locations(cafile=authority_file)
    configuration.verify_mode = ssl.CERT_REQUIRED
    configuration.max_data = 16 * MEBIBYTE
    configuration.max_stream_data = 8 * MEBIBYTE
    bearer = [("authorization", "Bearer " + token)]
    grpc = [("content-type", "application/grpc"), ("te", "trailers")]
    hello = b"\x00\x00\x00\x00\x05\x0a\x03ada"
    nobody = b"\x00\x00\x00\x00\x08\x0a\x06nobody"
    results = {}
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as client:
        client.authority = f"localhost:{port}"
        results["get"] = await client.whole("GET", "/echo/aioquic")
        results["post"] = await client.whole("POST", "/count", body=pattern(0, MEBIBYTE))
        parallel = await asyncio.gather(*(client.whole("GET", f"/bytes/{1000 + n}") for n in range(20)))
        results["parallel"] = {"sizes": [one["bytes"] for one in parallel], "intact": all(one["intact"] for one in parallel)}
        results["head"] = await client.whole("HEAD", "/bytes/1024")
        results["unauthorized"] = await client.whole("GET", "/private/1")
        results["forbidden"] = await client.whole("GET", "/admins", bearer)
        results["authorized"] = await client.whole("GET", "/private/1", bearer)
        results["not_found"] = await client.whole("GET", "/nowhere")
        results["not_allowed"] = await client.whole("POST", "/read-only", body=b"x")
        key = [("x-key", "aioquic")]
        results["limited"] = [await client.whole("GET", "/limited", key) for _ in range(3)]
        results["cached"] = [await client.whole("GET", "/fresh/aioquic") for _ in range(2)]
        results["grpc"] = await client.whole("POST", "/test.v1.Greeter/Hello", grpc, hello)
        results["grpc_error"] = await client.whole("POST", "/test.v1.Greeter/Hello", grpc, nobody)
        results["download"] = await client.whole("GET", f"/bytes/{LARGE}")
        results["upload_declared"] = await upload(client, True)
        results["upload_streamed"] = await upload(client, False)
        results["cut"] = await client.whole("GET", "/cut/length")
        results["after_abort"] = await abort(client, "/stall/x")
        results["terminated"] = client.terminated
    return results


def main():
    port, authority_file, token = sys.argv[1:4]
    results = asyncio.run(asyncio.wait_for(run(int(port), authority_file, token), 150))
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
