"""What an independent client does to QUIC itself. Usage: h3_transport.py PORT CA_FILE.

Prints JSON, scenario to result: a flood of PING frames, connection ids used up as fast as they
are issued, and early data with a ticket that does not allow it.
"""

import asyncio
import json
import sys

from aioquic.quic.events import HandshakeCompleted
from aioquic.quic.packet import QuicFrameType
from aioquic.tls import Epoch
from h3_wire import PATIENCE, Raw, configuration, dial, head, headers

PINGS_IN_A_PACKET = 500
CONNECTION_IDS = 1000
# The only value that QUIC allows (RFC 9001, 4.6.1).
EARLY_DATA = 0xFFFFFFFF


async def pings(port, made):
    async with dial(port, made) as client:
        client.settings()

        def write(builder, uids=(), comment=""):
            for _ in range(PINGS_IN_A_PACKET):
                builder.start_frame(QuicFrameType.PING, capacity=1)

        client._quic._write_ping_frame = write
        while client.closed is None:
            client._quic.send_ping(0)
            client.transmit()
            await asyncio.sleep(0)
        return client.closed


async def connection_ids(port, made):
    async with dial(port, made) as client:
        client.settings()
        used = set()
        for _ in range(CONNECTION_IDS):
            client.change_connection_id()
            await client.ping()
            used.add(bytes(client._quic._peer_cid.cid))
        status = await client.ask(headers(head("/echo/connection-ids")))
        return {"used": len(used), "status": status}


class Early(Raw):
    accepted = resumed = None

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.accepted, self.resumed = event.early_data_accepted, event.session_resumed
        super().quic_event_received(event)


async def early_data(port, made):
    tickets = asyncio.Queue()
    async with dial(port, made, session_ticket_handler=tickets.put_nowait) as client:
        client.settings()
        await client.ask(headers(head("/echo/first")))
        ticket = await tickets.get()
    offered = ticket.max_early_data_size
    ticket.max_early_data_size = EARLY_DATA
    made.session_ticket = ticket
    async with dial(port, made, wait_connected=False, create_protocol=Early) as client:
        client.settings()
        number = client.request(headers(head("/echo/early")))
        sent_early = client._quic._cryptos[Epoch.ZERO_RTT].send.is_valid()
        status = await client.outcome(number)
        return {
            "offered": offered,
            "sent_early": sent_early,
            "accepted": client.accepted,
            "resumed": client.resumed,
            "status": status,
        }


async def run(port, authority_file):
    results = {}
    for act in (pings, connection_ids, early_data):
        results[act.__name__] = await asyncio.wait_for(act(port, configuration(authority_file)), PATIENCE)
    return results


if __name__ == "__main__":
    json.dump(asyncio.run(run(int(sys.argv[1]), sys.argv[2])), sys.stdout)
