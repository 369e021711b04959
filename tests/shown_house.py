"""An issuer and a lender: papers, lists, a mirror, and what the lender verifies."""

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from consortium.credit.attestation import SignedAttestation, attest
from consortium.credit.closures import Cause
from consortium.credit.outcomes import Lateness
from consortium.credit.terms import Ppm
from consortium.errors import RiskWeaveError
from consortium.features.schema import parse_schema
from consortium.ids import PartnerId, PersonToken
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.mirror import type_of
from consortium.ledger.witness import Head
from partner_node.credit import storage_attested
from partner_node.credit.application import DeskService
from partner_node.credit.listing import ListPorts, TakePorts, publish, take
from partner_node.credit.showing import Showing, ShowingPorts
from partner_node.credit.storage import CreditStore
from partner_node.credit.storage_attested import Issued, KeptList
from partner_node.entry_book import EntryBook
from partner_node.log_store import NewEntries
from partner_node.storage import NodeStore
from tests.credit_desk_house import CONSENTS, Scores, application, consent, desk, write_rules
from tests.credit_house import NOW, TODAY
from tests.ledger_house import SCHEMA, manifest_of, parties_of

ISSUER, LENDER, THIRD = (PartnerId(f"silo-{number:02d}") for number in range(3))
PARTIES = parties_of(3)
MANIFEST = manifest_of(PARTIES, parse_schema(SCHEMA, source="shown"))
EPOCH = 3
PERSON, SOMEBODY = "11010519", "22020628"
TOKENS = {PERSON: PersonToken(b"p" * 16), SOMEBODY: PersonToken(b"s" * 16)}
ISSUED = TODAY - timedelta(days=6)
TAKES = {"[restart]": "[attestation]\nlist_days = 7\n\n[restart]"}


def paper(
    *,
    by: PartnerId = ISSUER,
    key: PartnerId | None = None,
    **changes: Any,  # noqa: ANN401 - any argument of attest
) -> SignedAttestation:
    plain: dict[str, Any] = {
        "issuer": by,
        "subject": (EPOCH, TOKENS[PERSON]),
        "months": 30,
        "lateness": Lateness(0, 0, None),
        "utilisation": Ppm(450_000),
        "cause": Cause.PRODUCT_WITHDRAWN,
        "issued_on": ISSUED,
    }
    return attest(PARTIES[key or by].identity, **(plain | changes))


def form(data: bytes, *, person: str = PERSON, **changes: object) -> dict[str, Any]:
    """An application that carries ``data``, with all consents."""
    consents = [consent(one) for one in (*CONSENTS, "ATTESTATION")]
    shown = base64.b64encode(data).decode()
    return application(person=person, attestation=shown, **{"consents": consents, **changes})


@dataclass
class Issuer:
    """Who publishes lists: a database, a log of its own entries, a clock."""

    path: Path
    today: date = TODAY
    store: CreditStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = CreditStore(self.path / "issuer.db")
        self.node = NodeStore(self.path / "issuer-node.db", now=lambda: NOW)
        self.identity = PARTIES[ISSUER].identity
        self.ports = ListPorts(
            store=self.store,
            log=self.node.log,
            book=EntryBook(ISSUER, self.identity, now=self.at),
            key=self.identity,
            issuer=ISSUER,
            today=lambda: self.today,
        )

    def at(self) -> int:
        return int(datetime(*self.today.timetuple()[:3], 12, tzinfo=UTC).timestamp())

    def issue(self, signed: SignedAttestation, *, revoked: bool = False) -> None:
        one = signed.attestation
        with self.store.transaction() as connection:
            issued = Issued(
                id=one.digest,
                subject=b"keyed",
                consent="keyed",
                issued_on=one.issued_on,
                expires_on=one.expires_on,
            )
            storage_attested.keep(connection, issued)
            if revoked:
                storage_attested.revoke(connection, one.digest, self.today)

    def publish(self) -> bytes:
        return publish(self.ports)[0].document

    def said(self) -> list[bytes]:
        return list(self.node.log.said("attestation.listed"))

    def close(self) -> None:
        self.store.close()
        self.node.close()


@dataclass
class Lender:
    """A desk that verifies, over a mirror that a test fills."""

    path: Path
    service: DeskService
    scores: Scores
    node: NodeStore
    barred: frozenset[PartnerId] = frozenset()
    fails: RiskWeaveError | None = None
    tokens: Mapping[str, tuple[int, PersonToken]] = field(
        default_factory=lambda: {name: (EPOCH, one) for name, one in TOKENS.items()}
    )

    def mirror(self, entries: Sequence[bytes]) -> None:
        """The log shows these entries."""
        first = self.node.log.size()
        new = entries[first:]
        rows = NewEntries(
            first=first,
            data=new,
            leaves=[leaf_hash(one) for one in new],
            types=[type_of(one) for one in new],
            own=[False] * len(new),
        )
        self.node.log.add(rows, Head(size=len(entries), root=b"r" * 32), flushed=True)

    def take(self, data: bytes, *, counted: int | None = None) -> KeptList:
        ports = TakePorts(
            store=self.service.ports.store,
            log=self.node.log,
            manifest=MANIFEST,
            counted=self.node.log.size() if counted is None else counted,
        )
        return take(ports, data)

    def decide(self, plain: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            asyncio.run(self.service.decide(plain, caller="loans"))
        )
        return found


@contextmanager
def lender(path: Path, **changes: str) -> Iterator[Lender]:
    """A lender whose policy takes attestations, unless ``changes`` say otherwise."""
    write_rules(path, **(changes or TAKES))
    scores, node = Scores(), NodeStore(path / "node.db", now=lambda: NOW)
    made: list[Lender] = []

    async def token(person: str, _seconds: float) -> tuple[int, PersonToken]:
        if made[0].fails is not None:
            raise made[0].fails
        return made[0].tokens[person]

    def showing(store: CreditStore) -> Showing:
        def newest(issuer: PartnerId) -> KeptList | None:
            with store.reading() as connection:
                return storage_attested.newest_list(connection, issuer)

        return Showing(
            ShowingPorts(
                member=LENDER,
                manifest=lambda: MANIFEST,
                barred=lambda _: made[0].barred,
                token=token,
                newest_list=newest,
            )
        )

    with desk(path, scores, showing=showing) as service:
        made.append(Lender(path, service, scores, node))
        try:
            yield made[0]
        finally:
            node.close()
