"""The only place of this role that reads clock, entropy and signals, and dials."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError
from consortium.ids import Digest
from consortium.ledger.archive import unpack
from consortium.ledger.evidence import read_evidence
from consortium.ledger.findings import Findings, Grade
from consortium.ledger.verify import Audit
from regulator import live
from regulator.bundle import audit_bundle, counted_entries, read_bundle
from regulator.decisions import Checked, check_reports
from regulator.enrolment import parse_token
from regulator.keys import Keys, Pin, Place
from regulator.keys import read_bundle as read_manifest
from regulator.membership import sign
from regulator.premises import replay_opened
from regulator.sampling import Drawn, Wish
from upkeep import logs

if TYPE_CHECKING:
    from regulator.log_reader import LogReader

PAUSE_S = 2.0
"""Between two looks at the log."""


def now() -> int:
    """Seconds since 1970, UTC."""
    return int(time.time())


def log_line(text: str) -> str:
    """A line of ``watch``, in the form that RISKWEAVE_LOG_FORMAT asks for."""
    if os.environ.get("RISKWEAVE_LOG_FORMAT", logs.TEXT) != logs.JSON:
        return text
    level = {"ALARM": "error", "warning:": "warning"}.get(text.partition(" ")[0], "info")
    return logs.json_line(now(), {"level": level, "from": "regulator.watch", "says": text})


def audit_file(path: Path, pinned: Digest) -> Audit:
    """Audit the bundle at ``path`` now."""
    return audit_bundle(read_bundle(path), pinned, now=now())


def replay_file(
    path: Path,
    pinned: Digest,
    lines: Iterable[bytes],
    *,
    drawn: tuple[int, ...] = (),
    challenged: bool = False,
) -> dict[str, object]:
    """Replay what a partner opened against the bundle at ``path``."""
    data = read_bundle(path)
    audit = audit_bundle(data, pinned, now=now())
    evidence = read_evidence(unpack(data, Findings()), Findings())
    return replay_opened(audit, evidence, lines, drawn=drawn, challenged=challenged)


def _entropy() -> Secret:
    return Secret(os.urandom(32))


def _door(directory: Path) -> "LogReader":
    # Only what talks to a coordinator loads gRPC: an audit of a file needs none.
    from regulator.log_reader import LogReader  # noqa: PLC0415

    keys = Keys(directory)
    return LogReader(keys.place().address, keys.tls())


def join(directory: Path, token: str, coordinator: str | None) -> Place:
    """Make keys and trade the token for a certificate.

    Args:
        directory: The regulator's; keys that are there are kept.
        token: The line that the operator issued.
        coordinator: host:port of the enrolment door, if it is another than the token's.

    Raises:
        EnrolmentError: the token is damaged, unknown, used, or expired.
        TransportError: the door is not reachable.
    """
    from regulator.log_reader import enrol  # noqa: PLC0415 - loads gRPC, as above

    parsed = parse_token(token)
    keys = Keys(directory)
    keys.create(_entropy)
    enrolled = enrol(
        parsed,
        keys.identity(),
        address=coordinator or parsed.enrolment,
        witness=keys.witness().public,
        csr=keys.certificate_request(parsed.member),
    )
    place = Place(member=parsed.member, federation=parsed.federation, address=enrolled.address)
    keys.save_membership(place, enrolled.certificate, parsed.authority)
    return place


def proposed(directory: Path) -> tuple[Pin, Keys]:
    """The newest manifest that the coordinator has, unsigned here."""
    with _door(directory) as door:
        return read_manifest(door.fetch_manifest()), Keys(directory)


def trust(directory: Path, digest: Digest, *, replacing: bool) -> Pin:
    """Sign and pin the manifest of that digest; raises as ``membership.sign``."""
    with _door(directory) as door:
        return sign(door, Keys(directory), digest, now=now, replacing=replacing)


@dataclass(frozen=True, slots=True)
class _Pause:
    """Ends at a signal, or when the time is over."""

    stopped: threading.Event
    pause_s: float
    until: float | None

    def wait(self) -> bool:
        left = None if self.until is None else self.until - time.monotonic()
        if left is not None and left <= 0:
            return True
        pause = self.pause_s if left is None else min(self.pause_s, left)
        return self.stopped.wait(pause)


def watch(
    directory: Path,
    tell: Callable[[str], None],
    wish: live.Wish,
    *,
    seconds: float | None,
    pause_s: float = PAUSE_S,
) -> Grade | None:
    """Be a live witness until SIGTERM, SIGINT, an alarm, or for so many seconds."""
    if not directory.is_dir():
        raise ConfigurationError(f"{directory}: no such directory; run: riskweave audit join")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    until = None if seconds is None else time.monotonic() + seconds
    around = live.Surroundings(door=lambda: _door(directory), now=now, tell=tell)
    return live.watch(directory, around, _Pause(stopped, pause_s, until), wish)


def sample(
    directory: Path, wish: Wish, bundle: tuple[Path, Digest] | None
) -> tuple[Drawn, ...]:
    """Draw from this regulator's mirror, or from a bundle; raises as ``live.sample``."""
    if bundle is None:
        return live.sample(directory, wish, now=now())
    entries = counted_entries(read_bundle(bundle[0]), bundle[1], now=now())
    return live.sample(directory, wish, now=now(), entries=entries)


def check_decisions(path: Path, pinned: Digest, lines: Iterable[bytes]) -> tuple[Checked, ...]:
    """Check reports on decisions against the bundle at ``path``."""
    return check_reports(audit_file(path, pinned), lines)


def sign_decisions(directory: Path, reports: tuple[Checked, ...], *, waive: bool) -> None:
    """Sign results on reports for the log; raises as ``live.sign_decisions``."""
    live.sign_decisions(directory, reports, waive=waive, now=now())


def sign_result(directory: Path, report: Mapping[str, object], *, waive: bool) -> None:
    """Sign the result of a replay for the log; raises as ``live.sign_result``."""
    live.sign_result(directory, report, waive=waive, now=now())
