"""Where a stress run finds its releases: the coordinator's registry, and folders of files.

A file holds what the product prints: the document of a table, a noisy table alone, or the
counts of an overlap. Whatever else is refused by name, so that nothing is left out silently.
"""

import json
from pathlib import Path

from consortium.canonical import canonical_json
from consortium.credit.figures import NoisyTable, parse_table
from consortium.credit.shock import TIER_CUTS, TIERS
from consortium.credit.table_document import TYPE, parse_table_document
from consortium.documents import value_of
from consortium.errors import ConfigurationError, DataError, DecodeError, ProtocolError
from consortium.identity.overlap import OverlapCount, counts_of
from consortium.ledger.bodies import OverlapReleased
from consortium.ledger.entries import from_jcs
from coordinator.credit.stress import Stored
from coordinator.scoring_storage import ScoringStore
from coordinator.storage import Store
from coordinator.table_storage import TableStore

_LARGEST = 16 << 20


class Gathered:
    """Releases from all places, each once."""

    def __init__(self) -> None:
        self._tables: dict[str, NoisyTable] = {}
        self._overlaps: dict[tuple[str, str], OverlapCount] = {}
        self._most: list[int | None] = []

    @property
    def stored(self) -> Stored:
        """What was found. A bound on a person's partners holds if every plan states one."""
        known = [one for one in self._most if one is not None]
        return Stored(
            tables=tuple(self._tables.values()),
            overlaps=tuple(self._overlaps.values()),
            most_partners=max(known) if known and len(known) == len(self._most) else None,
        )

    def take_registry(self, store: Store) -> None:
        """All tables that a coordinator published, and overlaps by the cuts of shock tiers."""
        for row in TableStore(store).tables():
            self._take_document(row.document)
        for plan, entry in ScoringStore(store).overlaps():
            body = from_jcs(entry).body
            if not isinstance(body, OverlapReleased):
                raise DecodeError(f"release {plan.release}: the stored counts are none")
            if (plan.tiers, plan.cuts) != (tuple(TIERS), TIER_CUTS):
                continue  # Of other cuts: of these tiers it says nothing.
            for count in counts_of(plan, body.counts):
                self._take_count(count)

    def take_folder(self, folder: Path) -> None:
        """All ``*.json`` files of a folder.

        Raises:
            ConfigurationError: no such folder, no file in it, or a file that is no release.
        """
        files = sorted(folder.glob("*.json"))
        if not files:
            raise ConfigurationError(f"{folder}: no folder with *.json files of releases")
        for file in files:
            try:
                self._take_file(file)
            except (ProtocolError, DataError, ConfigurationError, ValueError) as error:
                raise ConfigurationError(f"{file.name}: no release: {error}") from error

    def _take_file(self, file: Path) -> None:
        if file.stat().st_size > _LARGEST:
            raise ConfigurationError(f"above {_LARGEST} bytes")
        plain = json.loads(file.read_bytes())
        if isinstance(plain, dict) and plain.get("type") == TYPE:
            self._take_document(canonical_json(plain))
        elif isinstance(plain, dict) and "spec" in plain:
            self._take_table(parse_table(canonical_json(plain)), None)
        else:
            for one in plain if isinstance(plain, list) else [plain]:
                self._take_count(value_of(OverlapCount, one))

    def _take_document(self, document: bytes) -> None:
        found = parse_table_document(document)
        self._take_table(found.table, found.plan.max_partners_per_person)

    def _take_table(self, table: NoisyTable, most: int | None) -> None:
        self._tables[table.release] = table
        self._most.append(most)

    def _take_count(self, count: OverlapCount) -> None:
        if count.noisy < 0 or count.variance < 1:
            raise ConfigurationError("an overlap count below 0, or without noise")
        self._overlaps[count.release, count.tier] = count
