"""The risk register of a coordinator: readings from its own records, acts and waivers (row 12).

Nothing is kept: the register of today follows from the log, the stored releases and the clock.
What a red item stops is asked here, before the thing begins.
"""

from collections.abc import Callable, Sequence
from datetime import date

from consortium.credit.figures import NoisyTable
from consortium.credit.table_document import parse_table_document
from consortium.credit.triggers import (
    RULES,
    Acted,
    Block,
    Reading,
    Register,
    Trigger,
    Waiver,
    register_of,
)
from consortium.errors import RiskWeaveError
from consortium.ids import PartnerId
from consortium.ledger.checkpoint import open_checkpoint, witness_verifiers
from consortium.ledger.entries import ReleaseGate, from_jcs
from consortium.ledger.governing import RegisterActed, RegisterWaived
from consortium.manifest import Manifest
from coordinator.credit import readings
from coordinator.credit.governing import Governing
from coordinator.storage import Store
from coordinator.table_storage import TableStore

_HEADS = 64


class Registers:
    """The register over a coordinator's records."""

    def __init__(
        self,
        store: Store,
        governing: Governing,
        *,
        manifest: Callable[[], Manifest | None],
        now: Callable[[], int],
    ) -> None:
        self._store, self._governing = store, governing
        self._manifest, self._now = manifest, now

    def day(self) -> date:
        """The day of the register and of what is said now."""
        return self._governing.today()

    def today(self, more: Sequence[Reading] = ()) -> Register:
        """The register now; ``more``: of reports that are kept elsewhere."""
        state = self._governing.state()
        return register_of(
            [*self._readings(), *more], state.acts, state.waivers, today=self._governing.today()
        )

    def waive(self, waiver: Waiver) -> None:
        """Log a waiver.

        Raises:
            DomainError: it is not today's.
        """
        self._governing.say(RegisterWaived(waiver=waiver))

    def act(self, act: Acted) -> None:
        """Log what was done."""
        self._governing.say(RegisterActed(act=act))

    def refusal(self, block: Block) -> str:
        """Why something may not begin; empty if it may."""
        found = self.today().blocking(block)
        return "; ".join(
            f"the risk register stops it: {one.reading.trigger} of {one.reading.subject} is "
            f"red since {one.since}; {one.rule.action}, or waive it"
            for one in found
        )

    # --- sources ------------------------------------------------------------------------------

    def _readings(self) -> list[Reading]:
        tables = self._tables()
        campaigns = self._governing.state().campaigns
        by_release = {one.release: one for one in tables}
        found = [
            *readings.gate_readings(self._gates()),
            *readings.table_readings(tables),
            *readings.campaign_readings(campaigns, by_release),
            *self._of_manifest(),
        ]
        silent = set(Trigger) - {one.trigger for one in found}
        today = self._governing.today()
        return found + [
            Reading(trigger=one, subject="all", on=today, value=None)
            for one in RULES
            if one in silent
        ]

    def _tables(self) -> list[NoisyTable]:
        rows = TableStore(self._store).tables()
        return [parse_table_document(row.document).table for row in rows]

    def _gates(self) -> list[tuple[int, ReleaseGate]]:
        found: list[tuple[int, ReleaseGate]] = []
        for model in reversed(self._store.models.all()):
            row = self._store.models.gate(model.version)
            if row is not None:
                entry = from_jcs(row.entry)
                if isinstance(entry.body, ReleaseGate):
                    found.append((entry.at, entry.body))
        return sorted(found, key=lambda one: one[0])

    def _of_manifest(self) -> list[Reading]:
        manifest = self._manifest()
        if manifest is None:
            return []
        policy = manifest.policy
        lifetime = policy.max_epsilon_lifetime
        caps = {
            "training": lifetime,
            "holdout": lifetime,
            "tables": policy.figures.lifetime_epsilon,
        }
        last = self._last_words(manifest)
        witnesses = sorted(witness_verifiers(manifest)) if last else []
        return [
            *readings.budget_readings(self._governing.spent(), caps, policy.delta),
            *readings.witness_readings(
                last, witnesses, now=self._now(), since=manifest.not_before
            ),
        ]

    def _last_words(self, manifest: Manifest) -> dict[PartnerId, int]:
        """Newest cosignature of each witness, in the newest heads."""
        last: dict[PartnerId, int] = {}
        for _, note in self._store.log.heads(last=_HEADS):
            try:
                opened = open_checkpoint(note, manifest)
            except RiskWeaveError:
                continue  # of an earlier manifest's keys
            for name, at in opened.times.items():
                last[name] = max(at, last.get(name, 0))
        return last
