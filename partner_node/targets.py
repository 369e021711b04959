"""Which address of the coordinator a node dials: of a list, or of a name that has several.

A name is left to gRPC, which takes the first address that answers. Only when what answers is a
standby is the name looked up here, so that the other addresses have their turn.
"""

import asyncio
import socket
from ipaddress import ip_address

from consortium.addresses import Rotation, parse_addresses
from consortium.errors import RiskWeaveError, StandbyError


class Targets:
    """The addresses of one stream; for one event loop."""

    def __init__(self) -> None:
        self._rotation = Rotation()
        self._look_up = False

    async def current(self, text: str) -> str:
        """What to dial now; ``text`` is as it stands in the settings."""
        addresses = parse_addresses(text)
        if self._look_up:
            addresses = tuple(
                dict.fromkeys([one for name in addresses for one in await _looked_up(name)])
            )
        return self._rotation.of(addresses)

    def failed(self, error: RiskWeaveError) -> bool:
        """Take the next one; whether all had their turn, so that a wait is due."""
        begins_again = self._rotation.failed()
        if begins_again and isinstance(error, StandbyError):
            self._look_up = True
        return begins_again


async def _looked_up(address: str) -> list[str]:
    """All addresses of a name, or the name itself if it has none now."""
    host, _, port = address.rpartition(":")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        pass
    else:
        return [address]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM
        )
    except OSError:
        return [address]
    hosts = [f"[{one[4][0]}]" if one[0] is socket.AF_INET6 else str(one[4][0]) for one in found]
    return [f"{one}:{port}" for one in hosts]
