"""A client with a last will that says it is there and then waits to be killed. Run by test_contract.py."""

import asyncio
import sys

from shared.bus.connection import Connection, Will
from shared.bus.settings import BusSettings


async def main(address: str, ca: str) -> None:
    settings = BusSettings.from_address(address, tls_ca=ca or None)
    will = Will("devices/pi/presence", b"offline")
    async with Connection.open(settings, client_id="pi", will=will) as connection:
        await connection.publish("devices/pi/presence", b"online", retain=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
