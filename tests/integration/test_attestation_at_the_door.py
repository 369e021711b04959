"""A history from one node to the next: issued, listed in the log, shown over mutual TLS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consortium.credit.facts import DecisionInput
from consortium.errors import AttestationError
from consortium.ids import PersonToken
from coordinator import commands
from partner_node import desk_serving, serving, wiring
from partner_node.config import DeskDoors
from partner_node.credit.cli import main as desk_main
from partner_node.credit.doors import CreditDesk
from partner_node.credit.lines import FILE
from partner_node.credit.opening import open_service, subjects_of
from partner_node.desk_certificates import DeskAuthority, issue_to
from regulator.wiring import audit_file
from riskweave_client import (
    Client,
    CreditApplication,
    DeskError,
    Tls,
)
from tests.coordinator_house import free_address
from tests.integration.test_desk_of_a_node import application
from tests.node_house import Federation, Loop
from tests.watch_house import history, write_table

PERSON, SOMEBODY = "11010519", "22020628"
TOKENS = {PERSON: b"p" * 16, SOMEBODY: b"s" * 16}


def prepared(node: wiring.Desk) -> None:
    """The node has rules, pseudonyms of both persons, and a table of lines."""
    from partner_node import scoring_parts  # noqa: PLC0415 - needs the curve library

    epoch = node.completed_pin().manifest.policy.scoring.epoch
    subject = subjects_of(node)
    pairs = [(subject(person), bytes(PersonToken(one))) for person, one in TOKENS.items()]
    with closing(scoring_parts.scoring_store(node, wiring.now)) as store:
        store.keep_tokens(epoch, pairs, customers=True)
    folder = node.config.directory / "credit"
    assert desk_main(["init", str(node.config.directory), "--pack", "tw"]) == 0
    query = write_table(folder, [replace(history("a"), person=PERSON)]).query
    (folder / FILE).write_text(f'query = "{query}"\n', encoding="utf-8")


def witnessed(*nodes: wiring.Desk) -> None:
    """Every node has brought what it says, has all of the log, and knows the quorum."""
    parts = [(node, wiring.witnessing(node, wiring.mirror_of(node))) for node in nodes]
    for _ in range(4):
        for node, part in parts:
            with node.door() as door:
                part.ask(door)
    for node in nodes:
        mirror = wiring.mirror_of(node)
        assert mirror.counted() == mirror.size() > 0


@asynccontextmanager
async def desk_of(node: wiring.Desk) -> AsyncIterator[None]:
    with serving.scoring_session(node) as session:
        from partner_node import scoring_parts  # noqa: PLC0415 - needs the curve library

        loans = scoring_parts.loan_desk(node, session, wiring.now, entropy=wiring.entropy)
        session._first_era()
        scores = scoring_parts.decision_scores(node, session, loans, wiring.now)
        with open_service(node, scores, scoring_parts.tokens(session)) as service:
            doors = desk_serving.open_doors(
                node.config, loans, now=wiring.now, credit=CreditDesk(service)
            )
            async with doors:
                yield


def showing(paper: bytes, person: str = PERSON) -> CreditApplication:
    today = datetime.fromtimestamp(wiring.now(), UTC).date()
    asked = application(today, person, ("CREDIT_DECISION", "ATTESTATION"))
    return replace(asked, attestation=paper)


def shown_at(address: str, tls: Tls, node: wiring.Desk, paper: bytes) -> None:
    """The person's own history is taken, another's and a plain fact are not."""
    with Client(address, tls) as client:
        made = client.decide(showing(paper), timeout=60)
        assert (made.outcome, made.history_scored) == ("REFER", False)
        for odd, rule in (
            (showing(paper, SOMEBODY), "person: "),
            (showing(paper.replace(b"OTHER", b"ARREARS")), "altered: "),
            (replace(showing(b""), attributes={"attested_cause": "OTHER"}), "plain: "),
        ):
            with pytest.raises(DeskError, match=rule) as refused:
                client.decide(odd, timeout=60)
            assert refused.value.code == "attestation"
    with open_service(node) as service:
        data = service.decision(made.id).input
    facts = DecisionInput.from_bytes(data).attestation
    assert facts is not None
    assert (facts.issuer, facts.number) == ("bank_a", 0)
    assert TOKENS[PERSON].hex().encode() not in data
    assert desk_main(["replay", str(node.config.directory), made.id]) == 0


def published(bank: wiring.Desk, lender: wiring.Desk, into: Path) -> bytes:
    """A paper of the bank's; its list stands in the log and was taken by the lender."""
    home, listed = str(bank.config.directory), into / "list"
    paper = into / "paper"
    assert desk_main(["attest", home, PERSON, "--consent", "c-1", "--out", str(paper)]) == 0
    assert desk_main(["revoke-attestation", home, "--list", "--out", str(listed)]) == 0
    words = ["take-revocations", str(lender.config.directory), str(listed)]
    with pytest.raises(AttestationError, match="the log has no list"):
        desk_main(words)
    witnessed(bank, lender)
    assert desk_main(words) == 0
    return paper.read_bytes()


@pytest.mark.slow
def test_history_of_one_lender_is_shown_to_another_over_mutual_tls(
    near: Path, tmp_path: Path
) -> None:
    loop = Loop()
    federation = Federation(near, loop)
    try:
        with federation.serving(logged=True):
            federation.found("bank_a", "bank_b")
            bank, lender = (federation.nodes[name] for name in ("bank_a", "bank_b"))
            prepared(bank)
            prepared(lender)
            paper = published(bank, lender, tmp_path)
            address = free_address()
            node = replace(
                lender, config=replace(lender.config, desk=DeskDoors(listen=address))
            )
            authority = DeskAuthority(node.config.directory)
            partner, out = node.config.partner, tmp_path / "loans"
            issue_to(authority, partner, "loans", out, now=wiring.now())
            serving = desk_of(node)
            loop.call(serving.__aenter__())
            try:
                shown_at(address, Tls.read(tmp_path / "loans"), node, paper)
            finally:
                loop.call(serving.__aexit__(None, None, None))
        path = tmp_path / "bundle.zip"
        audit = audit_file(path, commands.write_bundle(federation.desk, path))
        assert audit.counts["attestation.listed"] == 1
        assert not [one for one in audit.findings if one.name.startswith("listing.")]
    finally:
        loop.close()
