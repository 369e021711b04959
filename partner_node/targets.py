"""Which address of the coordinator a node dials: of a list, or of a name that has several.

A stream leaves a name to gRPC, which takes the first address that answers. Only when what
answers is a standby is the name looked up here, so that the other addresses have their turn.
"""

import asyncio
import socket
from contextlib import suppress
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
        if not self._look_up:
            return self._rotation.of(parse_addresses(text))
        return self._rotation.of(await asyncio.to_thread(every, text))

    def failed(self, error: RiskWeaveError) -> bool:
        """Take the next one; whether all had their turn, so that a wait is due."""
        begins_again = self._rotation.failed()
        if begins_again and isinstance(error, StandbyError):
            self._look_up = True
        return begins_again


def looked_up(address: str) -> tuple[str, ...]:
    """All addresses of a name; the name itself if it is one, or has none now. May block."""
    host, _, port = address.rpartition(":")
    with suppress(ValueError):
        ip_address(host.strip("[]"))
        return (address,)
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError:
        return (address,)
    hosts = [f"[{one[4][0]}]" if one[0] is socket.AF_INET6 else str(one[4][0]) for one in found]
    return tuple(dict.fromkeys(f"{one}:{port}" for one in hosts))


def every(text: str) -> tuple[str, ...]:
    """All addresses that settings stand for, in order; one name is left to gRPC. May block.

    Raises:
        ConfigurationError: not of the form.
    """
    addresses = parse_addresses(text)
    found = tuple(dict.fromkeys(one for name in addresses for one in looked_up(name)))
    return found if len(found) > 1 else addresses
