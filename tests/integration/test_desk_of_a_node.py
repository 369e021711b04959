"""The desk as a serving node opens it: real directory, manifest, session and store."""

import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from partner_node import desk_serving, serving, wiring
from partner_node.credit.cli import main as desk_main
from partner_node.credit.doors import CreditDesk
from partner_node.credit.opening import open_service
from riskweave_client import (
    Client,
    Consent,
    ConsentRecord,
    CreditApplication,
    DeskError,
    Standing,
    Wish,
)
from tests.node_house import Federation, Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@asynccontextmanager
async def desk_of(node: wiring.Desk) -> AsyncIterator[None]:
    with serving.scoring_session(node) as session:
        from partner_node import scoring_parts  # noqa: PLC0415 - needs the curve library

        loans = scoring_parts.loan_desk(node, session, wiring.now, entropy=wiring.entropy)
        session._first_era()
        scores = scoring_parts.decision_scores(node, session, loans, wiring.now)
        with open_service(node, scores) as service:
            credit = CreditDesk(service)
            async with desk_serving.open_doors(
                node.config, loans, now=wiring.now, credit=credit
            ):
                yield


def test_node_without_a_model_gives_nobody_a_number_and_says_so(near: Path, loop: Loop) -> None:
    federation = Federation(near, loop)
    with federation.serving():
        manifest = federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        node.completed_pin()
        serving = desk_of(node)
        loop.call(serving.__aenter__())
        try:
            socket = node.config.desk_socket
            assert stat.S_IMODE(socket.stat().st_mode) == 0o600
            with Client(f"unix:{socket}") as client:
                status = client.status()
                assert (status.partner, status.manifest) == ("bank_a", manifest.digest)
                assert status.delivery == "partner_local"
                assert status.fallback
                for person, consent, code in (
                    ("12345678", Consent("c1"), "out_of_order"),
                    ("12345678", Consent(""), "S08"),
                    ("not/an/id!", Consent("c1"), "person"),
                ):
                    with pytest.raises(DeskError) as refused:
                        client.score(person, consent)
                    assert refused.value.code == code
        finally:
            loop.call(serving.__aexit__(None, None, None))


def application(
    today: date, person: str, purposes: Sequence[str] = ("CREDIT_DECISION", "JOINT_SCORE")
) -> CreditApplication:
    return CreditApplication(
        application="application-1",
        person=person,
        wish=Wish(
            product="instalment_small",
            purpose="DURABLES",
            amount=2_000_000,
            currency="TWD",
            tenor_months=12,
        ),
        standing=Standing(adult=True, has_history=False),
        consents=tuple(
            ConsentRecord(purpose=purpose, id=f"c-{purpose.lower()}", given_on=today)
            for purpose in purposes
        ),
    )


def test_node_decides_at_once_and_without_a_model_a_person_decides(
    near: Path, loop: Loop
) -> None:
    federation = Federation(near, loop)
    with federation.serving():
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        node.completed_pin()
        serving = desk_of(node)
        loop.call(serving.__aenter__())
        try:
            with Client(f"unix:{node.config.desk_socket}") as client:
                today = datetime.fromtimestamp(wiring.now(), UTC).date()
                with pytest.raises(DeskError, match="riskweave desk init"):
                    client.decide(application(today, "12345678"), timeout=60)
                assert desk_main(["init", str(node.config.directory), "--pack", "tw"]) == 0
                found = client.decide(application(today, "12345678"), timeout=60)
                assert (found.outcome, found.grade) == ("REFER", "")
                with pytest.raises(DeskError) as refused:
                    client.decide(application(today, "not/an/id!"), timeout=60)
                assert refused.value.code == "person"
            assert desk_main(["replay", str(node.config.directory)]) == 0
        finally:
            loop.call(serving.__aexit__(None, None, None))
