"""The regulator as a member: joining, signing, watching, drawing; what ties the parts together.

Everything that reads a clock, entropy or the network is handed in by ``wiring``.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from consortium.errors import ConfigurationError, LogError, OutOfOrderError, RiskWeaveError
from consortium.ids import parse_run_id
from consortium.ledger.bodies import DecisionResult
from consortium.ledger.checkpoint import parse_checkpoint
from consortium.ledger.entries import AuditResult
from consortium.ledger.findings import Grade
from consortium.ledger.note import parse_note
from consortium.ledger.witness import WitnessKey
from consortium.secagg.replay_report import Judgement, report_digest
from regulator.decisions import Checked
from regulator.keys import Keys
from regulator.membership import complete
from regulator.mirror import Mirror, Outbox, State, read_mirror
from regulator.sampling import Drawn, LogToDraw, Nonces, drawn_batches
from regulator.sampling import Wish as Drawings
from regulator.watch import Reader, Watch, WatchPorts, signed_entry

_INCOMPLETE = "the replay is incomplete: nothing is signed; --waive says that it may stay so"


class Pause(Protocol):
    """When to look again, and when to stop."""

    def wait(self) -> bool:
        """Wait a little; True: somebody asked to stop, or the time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the machine gives."""

    door: Callable[[], AbstractContextManager[Reader]]
    """A channel to the coordinator."""
    now: Callable[[], int]
    tell: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How somebody wants to watch."""

    keep: bool = False
    """Go on after an alarm, without cosigning."""
    settled: bool = False
    """The alarm on the disk was looked into: cosign again what grows from here."""


def watch(directory: Path, around: Surroundings, pause: Pause, wish: Wish) -> Grade | None:
    """Be a witness until ``pause`` ends it or there is an alarm; returns the worst grade."""
    keys, mirror = Keys(directory), Mirror(directory)
    try:
        place = keys.place()
        if mirror.state.alarm and wish.settled:
            around.tell(f"settled: {mirror.state.alarm}")
            mirror.keep_alarm("", "")
        if mirror.state.alarm:
            state = mirror.state
            around.tell(
                f"ALARM {state.alarm} is not settled: look into incidents/"
                f"{state.evidence}.json, then add --settled"
            )
            return Grade.ERROR
        watching = Watch(
            WatchPorts(
                directory=directory,
                mirror=mirror,
                outbox=Outbox(directory),
                pin=lambda reader: complete(reader, keys, now=around.now()),
                member=place.member,
                identity=keys.identity(),
                witness=WitnessKey(member=place.member, key=keys.witness()),
                now=around.now,
                tell=around.tell,
            )
        )
        _begin_draws(directory, keys, watching)
        around.tell(
            f"{place.member} watches {place.federation} from entry {mirror.head.size} on"
        )
        _watch(watching, around, pause, wish)
        return watching.worst
    finally:
        mirror.close()


def _begin_draws(directory: Path, keys: Keys, watching: Watch) -> None:
    """Commit to the bytes of the first draw as early as can be."""
    nonces = Nonces(directory, keys.nonce_root())
    if not nonces.begun:
        watching.ports.outbox.add(watching.entry(nonces.commit(0)))
        nonces.keep(0)


def _watch(watching: Watch, around: Surroundings, pause: Pause, wish: Wish) -> None:
    with ExitStack() as stack:
        reader: Reader | None = None
        while True:
            try:
                reader = reader or stack.enter_context(around.door())
                watching.look(reader)
            except LogError as error:
                if not wish.keep:
                    return
                watching.failed(error)
            except RiskWeaveError as error:
                watching.failed(error)
                stack.close()
                reader = None
            if pause.wait():
                return


def sample(
    directory: Path, wish: Drawings, *, now: int, entries: Sequence[bytes] | None = None
) -> tuple[Drawn, ...]:
    """Draw sums, decisions and records; the signed challenges wait for ``watch``.

    Args:
        directory: The regulator's.
        wish: What is drawn.
        now: Seconds since 1970.
        entries: Of a log under its newest head that counts, from a bundle; None: from the
            mirror.

    Raises:
        OutOfOrderError: there is nothing to draw from under a cosigned head, or its coin is
            not fixed yet.
        ConfigurationError: ``watch`` never ran in this directory.
    """
    keys = Keys(directory)
    outbox, (state, mirrored) = Outbox(directory), read_mirror(directory)
    own = (*mirrored, *outbox.waiting())
    if entries is None:
        entries = mirrored[: _counted(state)]
    if not entries:
        raise OutOfOrderError("no cosigned head is known here")
    nonces = Nonces(directory, keys.nonce_root())
    if not nonces.begun:
        raise ConfigurationError("nothing is committed to yet; run: riskweave audit watch")
    member, identity, number = keys.place().member, keys.identity(), nonces.number
    made = LogToDraw(entries, member, drawn_batches(own, member)).draw(wish, nonces)
    signed = [
        signed_entry(
            one.challenge, member=member, identity=identity, hint=one.coin.size, at=now
        )
        for one in made
    ]
    used = [one.coin.size for one in made if one.coin.number == number]
    if used:
        opened = nonces.commit(number + 1)
        signed.append(
            signed_entry(opened, member=member, identity=identity, hint=max(used), at=now)
        )
        # The number first: bytes that were opened are never committed to again.
        nonces.keep(number + 1)
    outbox.add(*signed)
    return made


def sign_decisions(
    directory: Path, reports: Sequence[Checked], *, waive: bool, now: int
) -> None:
    """Sign a ``decision.result`` on each report; they wait for ``watch``.

    Args:
        directory: The regulator's.
        reports: Of ``decisions.check_reports``.
        waive: Whether what could not be made again is let pass, and said so.
        now: Seconds since 1970.

    Raises:
        ConfigurationError: one is incomplete, and it is not waived.
    """
    verdicts = [one.verdict for one in reports]
    if Judgement.INCOMPLETE in verdicts and not waive:
        raise ConfigurationError(_INCOMPLETE)
    keys, (state, _) = Keys(directory), read_mirror(directory)
    Outbox(directory).add(
        *(
            signed_entry(
                DecisionResult(
                    challenge=one.report.challenge,
                    verdict="waived" if one.verdict == Judgement.INCOMPLETE else one.verdict,
                    report=one.report.digest,
                ),
                member=keys.place().member,
                identity=keys.identity(),
                hint=_counted(state),
                at=now,
            )
            for one in reports
        )
    )


def sign_result(
    directory: Path, report: Mapping[str, object], *, waive: bool, now: int
) -> bytes:
    """The signed ``audit.result`` on a replay; it waits for ``watch``.

    Args:
        directory: The regulator's.
        report: Of ``premises.replay_opened``.
        waive: Whether what could not be made again is let pass, and said so.
        now: Seconds since 1970.

    Raises:
        ConfigurationError: the report is incomplete, and it is not waived.
    """
    judgement = str(report["judgement"])
    if judgement == Judgement.INCOMPLETE and not waive:
        raise ConfigurationError(_INCOMPLETE)
    verdict = "waived" if judgement == Judgement.INCOMPLETE else judgement
    keys, (state, _) = Keys(directory), read_mirror(directory)
    entry = signed_entry(
        AuditResult(
            run=parse_run_id(str(report["run"])), verdict=verdict, report=report_digest(report)
        ),
        member=keys.place().member,
        identity=keys.identity(),
        hint=_counted(state),
        at=now,
    )
    Outbox(directory).add(entry)
    return entry


def _counted(state: State) -> int:
    """Size of the newest head that the quorum cosigned and that the mirror holds."""
    size = parse_checkpoint(parse_note(state.cosigned).text).size if state.cosigned else 0
    return size if size <= state.head.size else 0
