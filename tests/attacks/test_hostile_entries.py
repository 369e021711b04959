"""A partner that says one thing to the run and another to the log, or nothing, or as another.

It is named, costs an attempt and is left out; nothing that it forged gets into the log.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from consortium.crypto.keys import IdentityKey, NoteKey, Secret
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import Body, Incident, from_jcs, sign_entry
from consortium.ledger.run_bodies import BudgetDebit, RoundJoin, RoundUpload, RunCommit
from coordinator.audit_log import AuditLog, LogKeys
from coordinator.run_record import RunRecord
from coordinator.storage import Store
from models.run import RunFailedError
from tests.attacks.hostile import ALL, SHOP, SHOP_D, SHORT
from tests.simulator import Consortium

Bend = Callable[[Consortium, list[bytes]], list[bytes]]

STRANGER = IdentityKey.from_secret(Secret(b"h" * 32))
OTHER = Digest("0" * 64)


def again(
    house: Consortium, data: bytes, key: IdentityKey | None = None, **body: object
) -> bytes:
    """The entry with another body, signed by the shop itself, or under another key."""
    entry = from_jcs(data)
    changed = replace(entry, body=replace(entry.body, **body))  # type: ignore[arg-type]
    return sign_entry(changed, key or house.nodes[SHOP_D].key).to_jcs()


def as_another(house: Consortium, data: bytes) -> bytes:
    entry = replace(from_jcs(data), actor=SHOP)
    return sign_entry(entry, house.nodes[SHOP_D].key).to_jcs()


def as_incident(house: Consortium, data: bytes) -> bytes:
    entry = replace(from_jcs(data), body=Incident(kind="nothing", text=OTHER))
    return sign_entry(entry, house.nodes[SHOP_D].key).to_jcs()


def last(bend: Callable[[Consortium, bytes], bytes]) -> Bend:
    return lambda house, said: [*said[:-1], bend(house, said[-1])]


def first(bend: Callable[[Consortium, bytes], bytes]) -> Bend:
    return lambda house, said: [bend(house, said[0]), *said[1:]]


CASES: dict[str, tuple[type[Body], Bend, str]] = {
    "no entry with a JOIN": (RoundJoin, lambda _h, _s: [], "decode"),
    "two with a JOIN": (RoundJoin, lambda _h, said: said * 2, "decode"),
    "a JOIN of another attempt": (
        RoundJoin,
        last(lambda house, data: again(house, data, attempt=3)),
        "decode",
    ),
    "a JOIN as another member": (RoundJoin, last(as_another), "decode"),
    "a JOIN under another key": (
        RoundJoin,
        last(lambda house, data: again(house, data, STRANGER)),
        "signature",
    ),
    "a JOIN cut short": (RoundJoin, last(lambda _, data: data[:-1]), "decode"),
    "something else for a JOIN": (RoundJoin, last(as_incident), "decode"),
    "no entry with an upload": (RoundUpload, lambda _h, _s: [], "decode"),
    "other words than the upload": (
        RoundUpload,
        last(lambda house, data: again(house, data, words=OTHER)),
        "decode",
    ),
    "a debit of another attempt": (
        RoundUpload,
        first(lambda house, data: again(house, data, round=7)),
        "decode",
    ),
    "something else for a debit": (RoundUpload, first(as_incident), "decode"),
}


def bending(house: Consortium, kind: type[Body], bend: Bend) -> None:
    """The shop bends what it says for the log with answers of that kind."""

    def change(content: Any) -> None:  # noqa: ANN401 - Flower's record
        content["body"] = ConfigRecord(
            dict(content["body"]) | {"entries": bend(house, content["body"]["entries"])}
        )

    def fault(sender: PartnerId, payload: bytes) -> bytes:
        message = message_from_proto(ProtoMessage.FromString(payload))
        body = {} if message.has_error() else dict(message.content.get("body", {}))
        said = body.get("entries") or []
        if sender != SHOP_D or not said or not isinstance(from_jcs(said[-1]).body, kind):
            return payload
        change(message.content)
        return message_to_proto(message).SerializeToString()

    house.fault = fault


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'coordinator.db'}")


@pytest.fixture
def house(store: Store) -> Consortium:
    found = Consortium(plan=SHORT)
    keys = LogKeys(
        member=PartnerId("coordinator"),
        identity=found.coordinator,
        note=NoteKey.from_secret(Secret(b"N" * 32)),
    )
    audit = AuditLog(store, federation="tiny", keys=keys, now=lambda: 1_700_000_000)
    found.record = RunRecord(audit, found.manifest)
    return found


def of_the_shop(entries: Sequence[bytes]) -> list[Body]:
    return [one.body for one in map(from_jcs, entries) if one.actor == SHOP_D]


@pytest.mark.parametrize("name", CASES)
def test_what_is_logged_otherwise_than_it_is_done_names_its_sender_who_is_left_out(
    house: Consortium, name: str
) -> None:
    kind, bend, reason = CASES[name]
    bending(house, kind, bend)
    session = house.train()
    assert session.finished
    lost, rest = session.state.attempts[:2], session.state.attempts[2:]
    assert [(one.missing, one.reasons) for one in lost] == [((SHOP_D,), (reason,))] * 2
    assert {one.roster for one in rest} == {ALL[:3]}


def test_commitment_that_is_logged_otherwise_is_refused_and_not_in_the_log(
    house: Consortium, store: Store
) -> None:
    bending(house, RunCommit, last(lambda h, data: again(h, data, seed_commitment=OTHER)))
    session = house.train()
    assert session.finished
    assert {one.roster for one in session.state.attempts} == {ALL[:3]}
    assert of_the_shop(store.log.entries()) == []


def test_debit_that_got_lost_on_its_way_comes_with_the_next_acceptance(
    house: Consortium, store: Store
) -> None:
    lost: list[bytes] = []

    def fault(sender: PartnerId, payload: bytes) -> bytes | None:
        if sender == SHOP_D and b"round.upload" in payload and not lost:
            lost.append(payload)
            return None
        return payload

    house.fault = fault
    session = house.train()
    assert session.finished
    logged = [one for one in of_the_shop(store.log.entries()) if isinstance(one, BudgetDebit)]
    assert [(one.kind, one.round, one.attempt) for one in logged] == [
        (session.state.attempts[0].kind, 1, 1)
    ]


def test_run_without_commitments_in_the_log_does_not_begin(house: Consortium) -> None:
    house.fault = lambda _sender, payload: payload.replace(b"run.commit", b"run.c0mmit")
    with pytest.raises(RunFailedError, match="decode"):
        house.train()
