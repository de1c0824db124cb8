"""Streams of a gRPC service by the `websockets` package. Prints what it saw as JSON.

Arguments: port, CA file.
"""

import asyncio
import json
import ssl
import sys

import websockets

PORT, AUTHORITY = sys.argv[1:]
TLS = ssl.create_default_context(cafile=AUTHORITY)
CHAT = "/v1/rooms/x/chat"
COUNT = "/palisade.echo.v1.EchoService/Count"
SOCKETS = 100
SLOW_MESSAGES = 200


def connect(path, **options):
    options = {"compression": None, "max_size": None, **options}
    return websockets.connect(f"wss://localhost:{PORT}{path}", ssl=TLS, **options)


async def closed(socket):
    await socket.wait_closed()
    return [socket.close_code, socket.close_reason]


async def chat(seen):
    async with connect(CHAT, subprotocols=["palisade.v1.json"]) as socket:
        seen["chat"] = []
        for text in ["hello", "grüß dich"]:
            await socket.send(json.dumps({"text": text}))
            seen["chat"].append(json.loads(await socket.recv())["text"])
        await socket.send("")
        seen["chat_closed"] = await closed(socket)
    # Nothing of ours is compressed, whatever the client offers.
    async with connect(CHAT, compression="deflate") as socket:
        text = "x" * 1_000_000
        await socket.send(json.dumps({"text": text}))
        seen["large"] = len(json.loads(await socket.recv())["text"])
    async with connect(CHAT, subprotocols=["palisade.v1.proto"]) as socket:
        seen["subprotocol"] = socket.subprotocol
        await socket.send(b"\x12\x02hi")
        seen["binary"] = (await socket.recv()).hex()


async def count(seen):
    async with connect("/v1/count/3?from=1") as socket:
        seen["count"] = [json.loads(message)["number"] async for message in socket]
        seen["count_closed"] = await closed(socket)
    # A queue of one message, so that the socket fills while this sleeps between messages.
    async with connect(f"/v1/count/{SLOW_MESSAGES - 1}?paddingBytes=65536", max_queue=1) as socket:
        numbers = []
        async for message in socket:
            numbers.append(json.loads(message)["number"])
            await asyncio.sleep(0.002)
        seen["slow"] = len(numbers)
        assert numbers == [str(number) for number in range(SLOW_MESSAGES)]


async def failures(seen):
    async with connect(COUNT) as socket:
        fail = {"code": 7, "message": "not for you"}
        await socket.send(json.dumps({"failAfter": 1, "fail": fail}))
        await socket.recv()
        seen["failed"] = await closed(socket)
    for name, frame in [("not_json", "{"), ("too_long", "x" * 2_000_000)]:
        async with connect(CHAT) as socket:
            try:
                await socket.send(frame)
            except websockets.ConnectionClosed:
                pass
            seen[name] = (await closed(socket))[0]
    try:
        await connect("/v1/echo/x")
    except websockets.InvalidStatus as refused:
        problem = json.loads(refused.response.body)
        seen["refused"] = [refused.response.status_code, problem["code"]]


async def many(seen):
    async def one(number):
        async with connect(f"/v1/rooms/{number}/chat") as socket:
            for _ in range(20):
                await socket.send('{"text":"hello"}')
                assert json.loads(await socket.recv())["room"] == str(number)
        return 20

    seen["many"] = sum(await asyncio.gather(*map(one, range(SOCKETS))))


async def main():
    seen = {}
    for talk in [chat, count, failures, many]:
        await talk(seen)
    print(json.dumps(seen))


asyncio.run(main())
