"""Opens the desk's doors as ``node.toml`` says, for as long as the node serves (13.8)."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from partner_node.config import REST_SOCKET, Config
from partner_node.credit.doors import CreditDesk
from partner_node.desk_certificates import DeskAuthority
from partner_node.desk_door import DeskDoor, Listen
from partner_node.loan_desk import LoanDesk


@asynccontextmanager
async def open_doors(
    config: Config,
    desk: LoanDesk,
    *,
    now: Callable[[], int],
    credit: CreditDesk | None = None,
) -> AsyncIterator[None]:
    """The unix socket always; TCP and REST if they are configured.

    Raises:
        ConfigurationError: an address is in use or not ours, or a path is too long.
    """
    authority = DeskAuthority(config.directory)

    def admit(der: bytes) -> str:
        return authority.admit(der, now=now()).name

    async with AsyncExitStack() as stack:
        listen = None
        if config.desk.listen is not None:
            authority.create(config.partner, now=now())
            tls = authority.server([_host(config.desk.listen)], now=now())
            listen = Listen(address=config.desk.listen, tls=tls, admit=admit)
        door = DeskDoor(desk, config.desk_socket, listen, credit=credit)
        await door.start()
        stack.push_async_callback(door.stop)
        if config.desk.rest is not None:
            from partner_node import rest  # noqa: PLC0415 - FastAPI only where it is wanted

            address = (
                config.rest_socket if config.desk.rest == REST_SOCKET else config.desk.rest
            )
            where = rest.RestListen(address=address)
            if config.desk.rest_tls:
                authority.create(config.partner, now=now())
                tls = authority.server([_host(config.desk.rest)], now=now())
                where = rest.RestListen(address=address, tls=tls, admit=admit)
            http = rest.RestDoor(desk, where, credit)
            await http.start()
            stack.push_async_callback(http.stop)
        yield


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")
