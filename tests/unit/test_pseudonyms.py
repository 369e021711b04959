"""Tokens of a whole table, key ceremonies at a node, and what is on disk in between."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.crypto.keys import IdentityKey
from consortium.documents import document_of
from consortium.errors import ConfigurationError
from consortium.identity.epoch_steps import EpochOffer, record_of, verify_record
from consortium.ids import Digest, PartnerId
from consortium.inquiries import EpochAsk, OprfReply, OprfRequest
from consortium.ledger.bodies import OprfEpoch
from consortium.ledger.entries import from_jcs, sign_entry
from partner_node.token_load import Progress
from tests.joint_house import House, secret
from tests.unit.test_scoring_session import ROWS, ask

BANK = PartnerId("bank_a")
MANY: Mapping[str, Mapping[str, float | None]] = {
    **ROWS,
    "bank_a": {f"C{number}": 0.5 for number in range(30)},
}


def run(root: Path, story: Callable[[House], Awaitable[None]], **start: bool) -> None:
    async def main() -> None:
        house = House(root, MANY)
        try:
            await house.start(**start)
            await story(house)
        finally:
            house.close()

    asyncio.run(main())


def asked_points(house: House) -> int:
    """Blinded points that bank_a sent."""
    requests = [body for name, body in house.frames(OprfRequest, "up") if name == BANK]
    return sum(len(body.points) // 32 for body in requests if isinstance(body, OprfRequest))


def test_load_that_was_broken_off_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("partner_node.token_load.MOST_POINTS", 10)

    async def story(house: House) -> None:
        session, store = house.session("bank_a"), house.nodes[BANK].store
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell(progress: Progress) -> None:
            if progress.known and not first.done():
                first.set_result(None)

        loading = asyncio.create_task(session.tokenize(tell))
        await first
        assert session._load is not None
        session._load.cancel()  # as if the node were dead
        await asyncio.gather(loading, return_exceptions=True)
        done = store.customer_count(1)
        assert 10 <= done < 30
        house.wire.clear()
        await session.tokenize(tell)
        assert store.customer_count(1) == 30
        assert asked_points(house) == 30 - done

    run(tmp_path, story, load=False)


def test_second_load_asks_for_nobody(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.wire.clear()
        await house.session("bank_a").tokenize(lambda _progress: None)
        assert asked_points(house) == 0
        assert house.session("bank_a").status().tokens == 30

    run(tmp_path, story)


def test_token_of_who_is_no_customer_any_more_is_dropped(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        table = tmp_path / "bank_a" / "table.csv"
        table.write_text("\n".join(table.read_text().splitlines()[:11]) + "\n")
        await house.session("bank_a").tokenize(lambda _progress: None)
        assert house.nodes[BANK].store.customer_count(1) == 10
        assert house.session("bank_a").status().persons == 10

    run(tmp_path, story)


def test_commands_join_a_load_that_runs(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        session = house.session("bank_a")
        await asyncio.gather(*(session.tokenize(lambda _progress: None) for _ in range(3)))
        assert asked_points(house) == 30

    run(tmp_path, story, load=False)


def test_without_an_epoch_there_is_nothing_to_load(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path, MANY)
        try:
            with pytest.raises(ConfigurationError):
                await house.session("bank_a").tokenize(lambda _progress: None)
        finally:
            house.close()

    asyncio.run(main())


async def reshare(house: House, record: bytes) -> bytes:
    """Drive a resharing by the first t members; returns the new record."""
    old = verify_record(record, house.manifest)
    offer = EpochOffer(
        manifest=house.manifest.digest,
        epoch=1,
        attempt=old.attempt + 1,
        dealers=tuple(name for name, _ in old.members)[: old.threshold],
        previous=old.digest,
    )
    documents: tuple[bytes, ...] = (document_of(offer), record)
    for step in ("commit", "reveal", "confirm"):
        documents = await house._everybody(step, documents)
    made = record_of(documents, offer, house.manifest)
    await house._everybody("install", (made,))
    return made


def test_resharing_keeps_the_tokens_and_erases_the_old_shares(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        before = {name: node.store.shares.of(1) for name, node in house.nodes.items()}
        bank = house.nodes[BANK]
        subject = bank.people.subject(bank.people.form("C1"))
        (token,) = bank.store.tokens(1, [subject]).values()
        record = before[BANK][0].record
        assert record is not None
        await reshare(house, record)
        for name, node in house.nodes.items():
            (share,) = node.store.shares.of(1)
            (old,) = before[name]
            assert (old.attempt, share.attempt) == (1, 2)
            files = b"".join(
                path.read_bytes() for path in (tmp_path / name).glob("scoring.db*")
            )
            assert old.share.expose() not in files
        (answer,) = await ask(house, "shop_c", "C1")  # by shares of the new attempt alone
        assert (answer.fallback, answer.families[0].holders) == ("", 1)
        shop = house.nodes[PartnerId("shop_c")]
        asked = shop.store.tokens(1, [shop.people.subject(shop.people.form("C1"))])
        assert list(asked.values()) == [token]

    run(tmp_path, story)


def test_node_that_is_handed_its_record_again_goes_on_serving(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        (share,) = house.nodes[BANK].store.shares.of(1)
        assert share.record is not None
        await house._everybody("install", (share.record,))
        assert house.session("bank_a").status().epoch_installed

    run(tmp_path, story)


@pytest.mark.parametrize("lie", ["missing", "twice", "of others", "forged"])
def test_record_whose_holders_do_not_stand_for_it_in_the_log_is_not_installed(
    tmp_path: Path, lie: str
) -> None:
    async def story(house: House) -> None:
        (share,) = house.nodes[BANK].store.shares.of(1)
        assert share.record is not None
        entries = list(house.entries)
        if lie == "missing":
            entries.pop()
        elif lie == "twice":
            entries[-1] = entries[0]
        else:
            entry = from_jcs(entries[0])
            body = entry.body
            if lie == "of others":
                assert isinstance(body, OprfEpoch)
                body = replace(body, transcript=Digest("0f" * 32))
            forged = replace(entry, body=body, at=entry.at + 1)
            key = IdentityKey.from_secret(secret(f"identity {entry.actor}"))
            made = sign_entry(forged, key) if lie == "of others" else forged
            entries[0] = made.to_jcs()
        ask = EpochAsk(step="install", documents=(share.record, *entries))
        era = house.session("bank_a")._era
        assert era is not None
        tell = await era.ceremony.on_epoch(ask)
        assert tell.code == {"forged": "S03"}.get(lie, "S13")

    run(tmp_path, story)


def test_step_without_a_ceremony_is_refused_by_its_code(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        era = house.session("bank_a")._era
        assert era is not None
        tell = await era.ceremony.on_epoch(EpochAsk(step="reveal", documents=(b"x",)))
        assert (tell.document, tell.code) == (b"", "out_of_order")

    run(tmp_path, story)


def test_share_that_was_confirmed_before_a_restart_is_installed_after_it(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        (share,) = house.nodes[BANK].store.shares.of(1)
        record = share.record
        assert record is not None
        session = house.session("bank_a")
        session._era = None  # as a new process would begin
        session.attach(house._sender(BANK))
        assert session.status().epoch_installed
        (answer,) = await ask(house, "bank_a", "NEWCOMER")
        assert not [
            body
            for _, body in house.frames(OprfReply, "up")
            if isinstance(body, OprfReply) and body.code
        ]
        assert answer.context is None or answer.fallback == ""

    run(tmp_path, story)
