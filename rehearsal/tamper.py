"""What becomes of an operator who alters the coordinator's database while all others run.

Twice: first one entry, with its leaf, behind the back of the process that serves; then the
history from there on, with an entry of the coordinator's own signed anew, and every head
signed again by the log's own key, as nobody but the operator can do it. Then the coordinator
serves what it has been given, and other runs are asked for.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import Incident, StatementPublished, from_jcs, sign_entry
from consortium.ledger.findings import Finding, Grade
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.run_bodies import BudgetDebit
from coordinator.wiring import Desk, open_desk
from regulator.wiring import audit_file
from rehearsal.results import Alteration, AuditVerdict, TamperRecord

_SET_ENTRY = sa.text("UPDATE log_entries SET data = :data, leaf = :leaf WHERE number = :number")
_SET_HEAD = sa.text("UPDATE log_heads SET note = :note WHERE size = :size")
_SHOWN = 6
"""Names of findings that are shown of one audit; the report has them all."""


class Live(Protocol):
    """The federation that runs, as far as it is needed here."""

    @property
    def coordinator(self) -> Path:
        """The operator's own directory."""

    @property
    def witnesses(self) -> tuple[PartnerId, ...]:
        """Everybody who cosigns the log: partners, and the regulator if there is one."""

    def serve_again(self, between: Callable[[], None]) -> None:
        """Stop the coordinator, do something, start it, wait until everybody is back."""

    def ask_for_another_run(self) -> str:
        """Start the plan once more; returns how it ended."""

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition; RehearsalError if it does not come."""

    def bundle(self, name: str) -> Path:
        """Write the audit bundle of the database as it stands."""

    def examine(self, bundle: Path, name: str) -> Path:
        """Let the regulator's program write its report; returns the page."""


class Watcher(Protocol):
    """Whoever shows people how far it is."""

    def step(self, text: str) -> None:
        """Something begins."""


@dataclass(frozen=True, slots=True)
class _Change:
    """One entry as it is written over."""

    number: int
    data: bytes
    text: str


def tamper_with(live: Live, honest: AuditVerdict, watcher: Watcher) -> TamperRecord:
    """Alter the database twice, and see who notices."""
    known = set(audit_file(honest.bundle, honest.manifest).findings)
    with contextlib.closing(open_desk(live.coordinator).store) as store:
        charge, claim = _changes(store.log.entries())
        watcher.step(f"TAMPER: {charge.text}")
        with store.transaction() as connection:
            _write(connection, charge)
    first = _examined(live.bundle("tampered-1.zip"), honest.manifest, charge, known)
    _tell(watcher, first)
    text = f"{claim.text}; every head from there on is signed again by the log's own key"
    claim = replace(claim, text=text)
    watcher.step(f"TAMPER: {claim.text}; the coordinator serves it")
    live.serve_again(lambda: _rewrite(live.coordinator, charge.number, claim))
    # The first lets the log grow, so that everybody is shown the other history: a partner may
    # still agree then, and this coordinator refuses its word, for it rests on a head of before.
    watcher.step(f"  another run: {live.ask_for_another_run()}")
    live.wait_until(
        lambda: all(_refusals(live).values()), "every witness has said that it refuses"
    )
    answer = live.ask_for_another_run()
    watcher.step(f"  and another, when all have seen it: {answer}")
    refused = _refusals(live)
    for name, kind in refused.items():
        watcher.step(f"  {name} does not cosign: {kind}")
    bundle = live.bundle("tampered-2.zip")
    second = _examined(bundle, honest.manifest, claim, known)
    _tell(watcher, second)
    return TamperRecord(
        alterations=(first, second),
        refused=refused,
        further_run=answer,
        page=live.examine(bundle, "tampered"),
    )


def _changes(entries: Sequence[bytes]) -> tuple[_Change, _Change]:
    """The first charge of a partner, made smaller; the last claim, made better."""
    charge = claim = None
    for number, data in enumerate(entries):
        entry = from_jcs(data)
        if charge is None and isinstance(entry.body, BudgetDebit):
            fewer = replace(entry.body, units=entry.body.units // 2)
            text = f"entry {number}: half of what {entry.actor} charged to its budget"
            charge = _Change(number, replace(entry, body=fewer).to_jcs(), text)
        elif isinstance(entry.body, StatementPublished):
            better = replace(entry.body, person=_half(entry.body.person))
            text = (
                f"entry {number}: epsilon {better.person} is claimed, not {entry.body.person}"
            )
            claim = _Change(number, replace(entry, body=better).to_jcs(), text)
    if charge is None or claim is None:
        raise LookupError("the log has no charge or no statement")
    return charge, claim


def _half(figure: str) -> str:
    value = Decimal(figure)
    return str((value / 2).quantize(value))


def _write(connection: sa.Connection, change: _Change) -> None:
    row = {"number": change.number, "data": change.data, "leaf": leaf_hash(change.data)}
    connection.execute(_SET_ENTRY, row)


def _rewrite(directory: Path, first: int, claim: _Change) -> None:
    """Put the claim into the log under the coordinator's signature, and sign all heads anew."""
    desk = open_desk(directory)
    with contextlib.closing(desk.store) as store, store.transaction() as connection:
        signed = sign_entry(from_jcs(claim.data), desk.identity).to_jcs()
        _write(connection, replace(claim, data=signed))
        rows = connection.execute(sa.text("SELECT leaf FROM log_entries ORDER BY number"))
        leaves = [bytes(leaf) for (leaf,) in rows]
        sizes = connection.execute(sa.text("SELECT size FROM log_heads ORDER BY size"))
        for size, note in _heads(desk, leaves, [size for (size,) in sizes]):
            if size > first:
                connection.execute(_SET_HEAD, {"size": size, "note": note})


def _heads(
    desk: Desk, leaves: list[bytes], sizes: Sequence[int]
) -> Iterator[tuple[int, bytes]]:
    """Heads of these sizes over other entries, signed by the log's own key."""
    before = 0
    for size in sizes:
        note = desk.log.seal(
            before,
            leaves[before:size],
            lambda since, before=before: leaves[since:before],  # type: ignore[misc]
        )
        yield size, note
        before = size


def _refusals(live: Live) -> dict[str, str]:
    """Witness -> kind of its first incident in the log."""
    with contextlib.closing(open_desk(live.coordinator).store) as store:
        entries = [from_jcs(data) for data in store.log.entries()]
    said = {
        entry.actor: entry.body.kind
        for entry in reversed(entries)
        if isinstance(entry.body, Incident)
    }
    return {str(name): said.get(name, "") for name in live.witnesses}


def _examined(
    bundle: Path, manifest: Digest, change: _Change, known: set[Finding]
) -> Alteration:
    found = [one for one in audit_file(bundle, manifest).findings if one not in known]
    graver = [one for one in found if one.grade is not Grade.NOTE]
    graver.sort(key=lambda one: change.number not in one.entries)
    return Alteration(
        entry=change.number,
        changed=change.text,
        bundle=bundle,
        findings=tuple(_lines(graver)),
        named=any(one.grade is Grade.ERROR and change.number in one.entries for one in graver),
    )


def _lines(found: Sequence[Finding]) -> Iterator[str]:
    """One line for each name: its first finding, and how many more there are."""
    names = Counter(one.name for one in found)
    for name, count in names.items():
        first = next(one for one in found if one.name == name)
        entries = f", entry {', '.join(map(str, first.entries))}" if first.entries else ""
        more = f" ({count - 1} more)" if count > 1 else ""
        yield f"{first.grade} {name}{entries}: {first.text}{more}"


def _tell(watcher: Watcher, one: Alteration) -> None:
    verdict = "names" if one.named else "DOES NOT NAME"
    watcher.step(f"  the audit {verdict} entry {one.entry}:")
    for line in one.findings[:_SHOWN]:
        watcher.step(f"    {line}")
    if (more := len(one.findings) - _SHOWN) > 0:
        watcher.step(f"    and findings of {more} other names")
