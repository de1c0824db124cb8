"""A table of HTTP/3 cases: what a client sends, and what RFC 9114, 9204 and 9000 make of it.

Usage: h3_cases.py PORT CA_FILE. Prints JSON: for each case its name, RFC and section, whether the
upstream may see it, the verdicts that are right, and the one that came. A verdict is a status,
`reset:CODE` of the stream, `close:CODE` of the connection, or `transport:CODE`.
"""

import asyncio
import json
import os
import socket
import sys

from h3_wire import (
    CANCEL_PUSH,
    CONTROL,
    DATA,
    DECODER,
    ENCODER,
    GOAWAY,
    GREASE,
    HEADERS,
    MAX_PUSH_ID,
    PATIENCE,
    PUSH,
    PUSH_PROMISE,
    SETTINGS,
    configuration,
    dial,
    frame,
    head,
    headers,
    line,
    prefixed,
    section,
    varint,
)

OK = "200"
MISSING_SETTINGS, UNEXPECTED, FRAME_ERROR, LOAD = "close:0x10a", "close:0x105", "close:0x106", "close:0x107"
CREATION, CRITICAL, ID_ERROR, SETTINGS_ERROR = "close:0x103", "close:0x104", "close:0x108", "close:0x109"
UNDECODABLE, ENCODER_ERROR, DECODER_ERROR = "close:0x200", "close:0x201", "close:0x202"
MALFORMED, INCOMPLETE = "reset:0x10e", "reset:0x10d"
CASES = []


def case(name, rfc, *expected):
    def keep(run):
        CASES.append((name, rfc, expected, run))
        return run

    return keep


def path(name):
    return "/echo/" + name


def unidirectional(name, rfc, expected, *streams):
    """Unidirectional streams (bytes; end, None or "reset"), then a request beside them."""

    async def run(client):
        for data, end in streams:
            number = client.uni(data, end is True)
            if end == "reset":
                # An answer says that the type was read; a reset before that says nothing.
                await client.ask(headers(head("/bytes/1")))
                client._quic.reset_stream(number, 0x10C)
                client.transmit()
        if expected != OK:
            return await client.end()
        return await client.ask(headers(head(path(name))))

    case(name, rfc, expected)(run)


def control(name, rfc, expected, *frames, first=frame(SETTINGS)):
    unidirectional(name, rfc, expected, (CONTROL + first + b"".join(frames), None))


def request(name, rfc, expected, data):
    """One request stream; `data` gets the path and gives its bytes."""

    async def run(client):
        client.settings()
        number = client.request(data(path(name)))
        if expected.startswith("close"):
            return await client.end()
        got = await client.outcome(number)
        # A stream's error is its own: the next request must not notice.
        after = await client.ask(headers(head("/bytes/1")))
        return got if after == OK else f"{got}, then {after}"

    case(name, rfc, expected)(run)


def fields(name, rfc, expected, make):
    request(name, rfc, expected, lambda where: headers(make(where)))


def block(name, expected, encoded, rfc="9204 4.5"):
    """A request whose field section is these bytes."""
    request(name, rfc, expected, lambda where: frame(HEADERS, encoded(where) if callable(encoded) else encoded))


# RFC 9114, 6.2.1 and 7.2: the control stream.
control("no-settings", "9114 6.2.1", MISSING_SETTINGS, first=frame(MAX_PUSH_ID, b"\x01"))
control("reserved-frame-before-settings", "9114 6.2.1", MISSING_SETTINGS, first=frame(GREASE, b"x"))
control("settings-twice", "9114 7.2.4", UNEXPECTED, frame(SETTINGS))
control("settings-of-http2", "9114 7.2.4.1", SETTINGS_ERROR, first=frame(SETTINGS, b"\x02\x00"))
control("setting-twice", "9114 7.2.4", SETTINGS_ERROR, first=frame(SETTINGS, b"\x06\x10\x06\x10"))
control("unknown-setting-twice", "9114 7.2.4", SETTINGS_ERROR, first=frame(SETTINGS, b"\x21\x00\x21\x00"))
control("connect-setting-of-two", "9220 3", SETTINGS_ERROR, first=frame(SETTINGS, b"\x08\x02"))
control("settings-cut", "9114 7.1", FRAME_ERROR, first=frame(SETTINGS, b"\x06"))
control("settings-giant", "9114 10.5", LOAD, first=frame(SETTINGS, varint(GREASE) + bytes(2000)))
control("unknown-settings", "9114 7.2.4.1", OK, first=frame(SETTINGS, varint(GREASE) + b"\x05\x21\x00"))
control("data-on-control", "9114 7.2.1", UNEXPECTED, frame(DATA, b"x"))
control("headers-on-control", "9114 7.2.2", UNEXPECTED, frame(HEADERS, section([])))
control("promise-on-control", "9114 7.2.5", UNEXPECTED, frame(PUSH_PROMISE, b"\x00" + section([])))
control("ping-of-http2", "9114 7.2.8", UNEXPECTED, frame(0x06, bytes(8)))
control("cancel-push", "9114 7.2.3", ID_ERROR, frame(CANCEL_PUSH, b"\x00"))
control("max-push-id", "9114 7.2.7", OK, frame(MAX_PUSH_ID, b"\x01"), frame(MAX_PUSH_ID, b"\x09"))
control("max-push-id-smaller", "9114 7.2.7", ID_ERROR, frame(MAX_PUSH_ID, b"\x09"), frame(MAX_PUSH_ID, b"\x01"))
control("max-push-id-with-more", "9114 7.1", FRAME_ERROR, frame(MAX_PUSH_ID, b"\x01\x01"))
control("goaway-empty", "9114 7.1", FRAME_ERROR, frame(GOAWAY))
control("goaway-larger", "9114 5.2", ID_ERROR, frame(GOAWAY, b"\x01"), frame(GOAWAY, b"\x02"))
control("priority-update", "9218 7.2", OK, frame(0xF0700, b"\x00u=1"))
control("reserved-frame-on-control", "9114 7.2.8", OK, frame(GREASE, bytes(5000)))
control("giant-frame-on-control", "9114 10.5", LOAD, varint(GREASE) + varint(1 << 30) + bytes(1000))
unidirectional("second-control", "9114 6.2.1", CREATION, (CONTROL + frame(SETTINGS), None), (CONTROL + frame(SETTINGS), None))
unidirectional("control-finished", "9114 6.2.1", CRITICAL, (CONTROL + frame(SETTINGS), True))
unidirectional("control-reset", "9114 6.2.1", CRITICAL, (CONTROL + frame(SETTINGS), "reset"))

# RFC 9114, 6.2: other unidirectional streams; RFC 9204, 4.2 to 4.4: QPACK's.
GOOD = (CONTROL + frame(SETTINGS), None)
unidirectional("push-of-a-client", "9114 6.2.2", CREATION, GOOD, (PUSH + b"\x00", None))
unidirectional("stream-of-unknown-type", "9114 6.2", OK, GOOD, (b"\x3b" + bytes(100), None))
unidirectional("stream-of-reserved-type", "9114 6.2.3", OK, GOOD, (varint(GREASE) + bytes(100), True))
unidirectional("stream-without-type", "9114 6.2", OK, GOOD, (b"", True), (b"\x40", True))
unidirectional("second-encoder", "9204 4.2", CREATION, GOOD, (ENCODER, None), (ENCODER, None))
unidirectional("second-decoder", "9204 4.2", CREATION, GOOD, (DECODER, None), (DECODER, None))
unidirectional("encoder-finished", "9204 4.2", CRITICAL, GOOD, (ENCODER, True))
unidirectional("decoder-reset", "9204 4.2", CRITICAL, GOOD, (DECODER, "reset"))
unidirectional("capacity-zero", "9204 4.3.1", OK, GOOD, (ENCODER + b"\x20", None))
unidirectional("capacity-too-large", "9204 4.3.1", ENCODER_ERROR, GOOD, (ENCODER + prefixed(0x20, 5, 4096), None))
unidirectional("insert-into-no-table", "9204 3.2.2", ENCODER_ERROR, GOOD, (ENCODER + b"\xc0\x01x", None))
unidirectional("acknowledged-nothing", "9204 4.4.1", DECODER_ERROR, GOOD, (DECODER + b"\x80", None))
unidirectional("insert-count-of-nothing", "9204 4.4.3", DECODER_ERROR, GOOD, (DECODER + b"\x01", None))
unidirectional("cancelled-streams", "9204 4.4.2", OK, GOOD, (DECODER + prefixed(0x40, 6, 4) + prefixed(0x40, 6, 400), None))


# RFC 9204, 4.5: field sections. 0xd1 is `:method: GET`, 0xd7 `:scheme: https`, 0xdf `accept-encoding`.
def indexed(where):
    authority, target = b"localhost", where.encode()
    return b"\x00\x00\xd1\xd7" + b"\x50" + bytes([len(authority)]) + authority + b"\x51" + prefixed(0, 7, len(target)) + target


block("static-table", OK, indexed)
block("required-inserts", UNDECODABLE, lambda where: b"\x02\x00" + indexed(where)[2:])
block("negative-base", UNDECODABLE, lambda where: b"\x00\x80" + indexed(where)[2:])
block("dynamic-line", UNDECODABLE, lambda where: indexed(where) + b"\x80")
block("dynamic-name", UNDECODABLE, lambda where: indexed(where) + b"\x40\x01x")
block("post-base-line", UNDECODABLE, lambda where: indexed(where) + b"\x10")
block("static-line-99", UNDECODABLE, lambda where: indexed(where) + b"\xff\x24")
block("string-cut", UNDECODABLE, lambda where: indexed(where) + b"\x51\x7f")
block("endless-integer", UNDECODABLE, lambda where: indexed(where) + b"\xff" + b"\x80" * 100)
block("huffman-with-bad-padding", UNDECODABLE, lambda where: indexed(where) + b"\x21x\x81\x00")
block("no-section-at-all", UNDECODABLE, b"")
block("bomb-of-static-lines", "431", b"\x00\x00" + b"\xdf" * 30000, "9204 7.3")

# RFC 9114, 4.1 and 7: the sequence of frames on a request stream.
request("data-first", "9114 4.1", UNEXPECTED, lambda where: frame(DATA, b"x") + headers(head(where)))
request("head-after-trailers", "9114 4.1", UNEXPECTED, lambda where: headers(head(where, "POST")) + headers([("a", "b")]) * 2)
request("data-after-trailers", "9114 4.1", UNEXPECTED, lambda where: headers(head(where, "POST")) + headers([("a", "b")]) + frame(DATA, b"x"))
for kind, called in ((SETTINGS, "settings"), (GOAWAY, "goaway"), (MAX_PUSH_ID, "max-push-id"), (CANCEL_PUSH, "cancel-push"), (PUSH_PROMISE, "promise")):
    request(called + "-on-a-request", "9114 7.2", UNEXPECTED, lambda where, kind=kind: headers(head(where, "POST")) + frame(kind, b"\x00"))
for kind in (0x02, 0x06, 0x08, 0x09):
    request(f"type-{kind}-of-http2", "9114 7.2.8", UNEXPECTED, lambda where, kind=kind: headers(head(where, "POST")) + frame(kind, b"\x00"))
request("reserved-frames-around", "9114 7.2.8", OK, lambda where: b"".join(frame(GREASE, b"x" * 900) + one for one in (headers(head(where, "POST")), frame(DATA, b"body"), headers([("a", "b")]), b"")))
request("webtransport-type", "9114 9", OK, lambda where: frame(0x41, b"x") + headers(head(where)))
request("giant-unknown-frame", "9114 10.5", LOAD, lambda where: headers(head(where, "POST")) + varint(GREASE) + varint(1 << 40) + bytes(1000))
request("empty-data", "9114 4.1", OK, lambda where: headers(head(where, "POST")) + frame(DATA) * 100 + frame(DATA, b"body"))
request("frame-cut", "9114 7.1", FRAME_ERROR, lambda where: headers(head(where, "POST")) + frame(DATA, b"body")[:-1])
request("frame-head-cut", "9114 7.1", FRAME_ERROR, lambda where: headers(head(where, "POST")) + b"\x00")
request("nothing-at-all", "9114 4.1", INCOMPLETE, lambda where: b"")
request("only-a-reserved-frame", "9114 4.1", INCOMPLETE, lambda where: frame(GREASE, b"x"))
request("trailers", "9114 4.1", OK, lambda where: headers(head(where, "POST")) + frame(DATA, b"body") + headers([("a", "b")]))
request("trailers-giant", "9114 4.2.2", "reset:0x107", lambda where: headers(head("/count/trailers-giant", "POST")) + headers([("a", "b" * 40000)]))
request("pseudo-field-in-trailers", "9114 4.3", MALFORMED, lambda where: headers(head("/count/pseudo", "POST")) + headers([(":path", "/")]))
request("head-giant", "9114 4.2.2", "431", lambda where: headers(head(where, more=[("x-giant", "a" * 40000)])))

# RFC 9114, 4.2: fields.
fields("upper-case-name", "9114 4.2", MALFORMED, lambda where: head(where, more=[("X-Upper", "1")]))
for name, value in (("connection", "close"), ("keep-alive", "1"), ("proxy-connection", "x"), ("transfer-encoding", "chunked"), ("upgrade", "h2c"), ("te", "gzip")):
    fields("field-" + name, "9114 4.2", MALFORMED, lambda where, name=name, value=value: head(where, more=[(name, value)]))
fields("te-trailers", "9114 4.2", OK, lambda where: head(where, more=[("te", "trailers")]))
for called, value in (("nul", "a\0b"), ("line-break", "a\r\nb: c"), ("delete", "a\x7f")):
    fields("value-with-" + called, "9114 10.3", MALFORMED, lambda where, value=value: head(where, more=[("x-a", value)]))
fields("name-with-space", "9114 10.3", MALFORMED, lambda where: head(where, more=[("x a", "1")]))
fields("name-empty", "9114 10.3", MALFORMED, lambda where: head(where, more=[("", "1")]))

# RFC 9114, 4.3: pseudo-header fields.
fields("pseudo-after-field", "9114 4.3", MALFORMED, lambda where: [head(where)[0], ("x-a", "1"), *head(where)[1:]])
for at, called in enumerate(("method", "scheme", "authority", "path")):
    fields("two-of-" + called, "9114 4.3.1", MALFORMED, lambda where, at=at: [*head(where), head(where)[at]])
    fields("no-" + called, "9114 4.3.1", MALFORMED, lambda where, at=at: [one for number, one in enumerate(head(where)) if number != at])
fields("status-of-a-request", "9114 4.3", MALFORMED, lambda where: [(":status", "200"), *head(where)])
fields("unknown-pseudo-field", "9114 4.3", MALFORMED, lambda where: [(":nothing", "1"), *head(where)])
fields("path-empty", "9114 4.3.1", MALFORMED, lambda where: head(""))
fields("authority-empty", "9114 4.3.1", MALFORMED, lambda where: head(where, authority=""))
fields("authority-with-a-user", "9114 4.3.1", "400", lambda where: head(where, authority="user@localhost"))
fields("path-without-slash", "9114 4.3.1", MALFORMED, lambda where: head(where[1:]))
fields("path-with-dots", "3986 5.2.4", "400", lambda where: head("/echo/../admins"))
fields("host-differs", "9114 4.3.1", MALFORMED, lambda where: head(where, more=[("host", "evil.test")]))
fields("host-agrees", "9114 4.3.1", OK, lambda where: head(where, more=[("host", "localhost")]))
fields("two-hosts", "9110 7.2", MALFORMED, lambda where: head(where, more=[("host", "localhost")] * 2))
block("huffman-pseudo-twice", MALFORMED, lambda where: indexed(where) + bytes.fromhex("2db9495339e4") + b"\x03PUT", "9114 4.3")

# RFC 9114, 4.1.2: content-length.
LENGTHS = (("short", "10", b"12345"), ("long", "3", b"12345"), ("of-nothing", "5", b""))
for called, length, body in LENGTHS:
    request("body-too-" + called, "9114 4.1.2", MALFORMED, lambda where, length=length, body=body: headers(head("/count/length", "POST", more=[("content-length", length)])) + (frame(DATA, body) if body else b""))
fields("two-lengths", "9110 8.6", MALFORMED, lambda where: head(where, "POST", more=[("content-length", "1"), ("content-length", "2")]))
fields("signed-length", "9110 8.6", MALFORMED, lambda where: head(where, "POST", more=[("content-length", "+1")]))


async def stopped(client, number):
    for _ in range(PATIENCE * 100):
        code = client.stream(number).stopped
        if code is not None:
            return f"stopped:{code:#x}"
        await asyncio.sleep(0.01)
    return "never stopped"


# RFC 9000: what the transport refuses by itself.
@case("more-streams-than-allowed", "9000 4.6", "transport:0x4")
async def too_many_streams(client):
    client.settings()
    client._quic._remote_max_streams_bidi = 1 << 20
    client.send(4 * 5000, headers(head("/bytes/1")))
    return await client.end()


@case("more-unidirectional-streams-than-allowed", "9000 4.6", "transport:0x4")
async def too_many_unidirectional(client):
    client.settings()
    client._quic._remote_max_streams_uni = 1 << 20
    client.send(2 + 4 * 5000, ENCODER)
    return await client.end()


@case("more-data-than-allowed", "9000 4.1", "transport:0x3")
async def too_much_data(client):
    client.settings()
    number = client._quic.get_next_available_stream_id()
    stream = client._quic._get_or_create_stream_for_send(number)
    client._quic._remote_max_data = stream.max_stream_data_remote = 1 << 40
    # As if all before it had been sent and acknowledged.
    stream.sender._buffer_start = stream.sender._buffer_stop = 1 << 28
    client.send(number, b"far away")
    return await client.end()


@case("no-protocol-in-common", "9001 8.1", "transport:0x178")
async def foreign_alpn(_):
    async with dial(PORT, configuration(AUTHORITY, "hq-interop"), wait_connected=False) as client:
        client.transmit()
        return await client.end()


async def datagram(bytes_out):
    """The versions in the answer to one datagram; none where there is no answer before a good client's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        udp.connect(("127.0.0.1", PORT))
        udp.send(bytes_out)
        receiving = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(udp, 2048))
        async with dial(PORT, configuration(AUTHORITY)) as client:
            client.settings()
            await client.ask(headers(head("/bytes/1")))
        if not receiving.done():
            receiving.cancel()
            return "silence"
        answer = receiving.result()
        at = 5
        for _ in range(2):
            at += 1 + answer[at]
        versions = [int.from_bytes(answer[n : n + 4], "big") for n in range(at, len(answer), 4)]
        # Others that are listed are reserved ones (RFC 9000, 15).
        return "versions:" + ",".join(f"{one:#x}" for one in versions if one & 0x0F0F0F0F != 0x0A0A0A0A)


def initial(version, length):
    begin = bytes([0xC3]) + version.to_bytes(4, "big") + b"\x08" + os.urandom(8) + b"\x08" + os.urandom(8)
    return begin + bytes(length - len(begin))


@case("unknown-version", "9000 6.1", "versions:0x1")
async def unknown_version(_):
    return await datagram(initial(0x5A5A5A5A, 1200))


@case("unknown-version-in-a-small-datagram", "9000 14.1", "silence")
async def small_unknown_version(_):
    return await datagram(initial(0x5A5A5A5A, 200))


@case("initial-in-a-small-datagram", "9000 14.1", "silence")
async def small_initial(_):
    return await datagram(initial(1, 300))


@case("answer-before-the-upload-ends", "9114 4.1", "413, stopped:0x100")
async def early_answer(client):
    client.settings()
    long = headers(head("/count/small", "POST", more=[("content-length", "1000000")]))
    number = client.request(long + frame(DATA, bytes(1000)), end=False)
    return await client.outcome(number) + ", " + await stopped(client, number)


@case("head-that-never-comes", "9114 4.1", "reset:0x10d")
async def no_head(client):
    client.settings()
    return await client.outcome(client.request(b"\x01", end=False))


@case("connect-without-authority", "9114 4.4", MALFORMED)
async def connect_without_authority(client):
    client.settings()
    return await client.ask(headers([(":method", "CONNECT")]))


@case("connect", "9114 4.4", "400", "405", "501")
async def connect(client):
    client.settings()
    return await client.ask(headers([(":method", "CONNECT"), (":authority", "localhost:443")]))


@case("stop-sending-of-unknown-type", "9114 6.2", "stopped:0x103")
async def unknown_type_is_stopped(client):
    client.settings()
    number = client.uni(b"\x3b" + bytes(100))
    return await stopped(client, number)


async def run(port, authority_file):
    results = []
    for name, rfc, expected, act in CASES:
        async with dial(port, configuration(authority_file)) as client:
            try:
                got = await asyncio.wait_for(act(client), 2 * PATIENCE)
            except asyncio.TimeoutError:
                got = "nothing"
        results.append({"name": name, "rfc": rfc, "expected": expected, "got": got})
    return results


if __name__ == "__main__":
    PORT, AUTHORITY = int(sys.argv[1]), sys.argv[2]
    json.dump(asyncio.run(run(PORT, AUTHORITY)), sys.stdout)
