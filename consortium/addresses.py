"""Addresses of a coordinator: one, or one for each of its replicas, and which to dial next."""

from dataclasses import dataclass

from consortium.errors import ConfigurationError

_MOST = 8
_PORTS = 65_535


def parse_address(text: str) -> str:
    """Return ``host:port`` as given, or raise ConfigurationError."""
    host, _, port = text.rpartition(":")
    plain = host.replace("[", "").replace("]", "").replace(":", "")
    named = all(part.isalnum() or not part for part in plain.replace("-", ".").split("."))
    if not plain or not named or not port.isdecimal() or int(port) > _PORTS:
        raise ConfigurationError(f"address {text!r} is not host:port")
    return text


def parse_addresses(text: str) -> tuple[str, ...]:
    """Return the addresses of ``host:port`` or ``host:port,host:port``, in the given order.

    Raises:
        ConfigurationError: one is not of the form, is named twice, or they are too many.
    """
    found = tuple(parse_address(part.strip()) for part in text.split(","))
    if len(set(found)) != len(found) or len(found) > _MOST:
        raise ConfigurationError(f"addresses {text!r}: at most {_MOST}, each once")
    return found


@dataclass(slots=True)
class Rotation:
    """Which of several addresses to dial: the one that worked, until it fails."""

    known: tuple[str, ...] = ()
    at: int = 0

    def of(self, addresses: tuple[str, ...]) -> str:
        """The address to dial now; others than before begin at the first."""
        if addresses != self.known:
            self.known, self.at = addresses, 0
        return addresses[self.at]

    def failed(self) -> bool:
        """Go on to the next; whether the round of all begins again, so that a wait is due."""
        self.at = (self.at + 1) % max(1, len(self.known))
        return self.at == 0
