"""The desk as a serving node opens it: real directory, manifest, session and store."""

import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from partner_node import desk_serving, wiring
from riskweave_client import Client, Consent, DeskError
from tests.node_house import Federation, Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@asynccontextmanager
async def desk_of(node: wiring.Desk) -> AsyncIterator[None]:
    with wiring.scoring_session(node) as session:
        from partner_node import scoring_parts  # noqa: PLC0415 - needs the curve library

        loans = scoring_parts.loan_desk(node, session, wiring.now, entropy=wiring.entropy)
        session._first_era()
        async with desk_serving.open_doors(node.config, loans, now=wiring.now):
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
