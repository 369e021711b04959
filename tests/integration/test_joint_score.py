"""Joint scores over real sockets: five nodes as their directories say, and the coordinator.

Keys, certificates, manifest, key ceremony, tokens, tables: all are what operators use. Links
and coordinator run in one loop; a partner that is killed loses its streams in the middle.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import coordinator.wiring as operator
from consortium import codec
from consortium.codec import Frame, StreamKind
from consortium.ids import Digest, PartnerId
from consortium.inquiries import Purpose
from consortium.messages import Vote
from coordinator import commands, scoring_parts
from coordinator.config import parse_policy
from coordinator.doors import Doors
from coordinator.server import Questions, Server
from coordinator.streams import StreamHub
from models.document import version_of
from partner_node import joining, serving, wiring
from partner_node.answers import JointAnswer
from partner_node.link import Link
from partner_node.link_ports import Pace, Ports
from partner_node.scoring_parts import scoring_store
from partner_node.scoring_session import ScoringSession
from partner_node.scoring_store import ScoringStore
from tests.coordinator_house import free_address
from tests.gate_house import gate_row
from tests.joint_house import FAMILIES, SCORING, applicant, model_document, partial, write_table
from tests.node_house import Loop, echo
from tests.simulator import SCHEMA

PERSONS = 1_200
WAIT_S = 120.0
PATIENT_MS = 60_000
SETTINGS = """
[data]
query = "SELECT * FROM read_csv('table.csv', types={'id': 'VARCHAR'})"
person = "id"
label = "bad"
threads = 1

[scoring]
study_consent = "study_consent"
"""
PACE = Pace(first_wait=0.05, longest_wait=0.2, farewell=0.5)
KILLED = "shop_d"


def rows_of(name: str) -> dict[str, float | None]:
    """Who is known where, and with which value: by the person's number alone."""
    place = list(FAMILIES).index(name)
    return {
        f"CLIENT{number}": (number % 5) / 4
        for number in range(PERSONS)
        if (number >> place) % 2 or number % 7 == place
    }


ROWS = {name: rows_of(name) for name in FAMILIES}


@dataclass(eq=False)
class Live:
    """One node at work."""

    desk: wiring.Desk
    session: ScoringSession
    stop: asyncio.Event
    link: "asyncio.Task[None]"
    work: "asyncio.Task[None]"


class Joint:
    """The federation, from enrolment to the first roster with a model."""

    def __init__(self, root: Path, loop: Loop, *, processes: tuple[str, ...] = ()) -> None:
        """``processes``: partners whose node a test serves itself."""
        self.root, self.loop, self.stack = root, loop, ExitStack()
        schema = root / "schema.toml"
        schema.write_text(SCHEMA, encoding="utf-8")
        birth = operator.Birth(
            name="joint", schema=schema, address=free_address(), enrolment=free_address()
        )
        operator.initialise(root / "c", birth)
        self.operator = operator.open_desk(root / "c")
        self.nodes: dict[str, Live] = {}
        self.hub, self.server, self.relaying = loop.call(self._serve())
        self.desks = {name: self._join(name) for name in FAMILIES}
        self.version = self._found()
        for name in FAMILIES:
            if name not in processes:
                self.start(name)

    async def _serve(self) -> tuple[StreamHub, Server, "asyncio.Task[None]"]:
        desk, config = self.operator, self.operator.config
        hub = StreamHub(desk.membership.greet)
        scoring = scoring_parts.open_scoring(desk, hub)
        doors = Doors(
            federation=config.federation_address,
            enrolment=config.enrolment_address,
            federation_public=config.federation_public,
            tls=desk.tls,
        )
        server = Server(
            doors,
            questions=Questions(desk.store, desk.membership, hub, now=operator.now),
            membership=desk.membership,
            hub=hub,
            authority=desk.authority,
        )
        await server.start()
        return hub, server, asyncio.create_task(scoring.relay.run())

    def _join(self, name: str) -> wiring.Desk:
        settings = self.root / "settings.toml"
        settings.write_text(SETTINGS)
        joining.initialise(self.root / name, PartnerId(name), settings)
        write_table(self.root / name / "table.csv", FAMILIES[name], ROWS[name])
        token = commands.issue_token(self.operator, PartnerId(name), FAMILIES[name], hours=1)
        path = self.root / f"{name}.token"
        path.write_text(token.encode() + "\n")
        joining.join(wiring.open_desk(self.root / name), path)
        return wiring.open_desk(self.root / name)

    def _found(self) -> Digest:
        policy = parse_policy("[policy]\nmin_partners = 2\nvote_quorum = 2\n", "test")
        policy = replace(policy, scoring=SCORING)
        manifest = self.operator.membership.propose("joint", self.operator.schema, policy)
        for desk in self.desks.values():
            joining.trust(desk, joining.proposed(desk, manifest.digest))
        document = model_document(manifest, self.operator.schema)
        data = document.to_bytes()
        version = version_of(data)
        store = self.operator.store
        gate = gate_row(version, passed=True)
        store.models.add(version, document.plan.run, data, 1, gate=gate)
        store.models.set_status(version, "active", 2)
        for name, desk in self.desks.items():
            vote = Vote(
                version=version,
                member=PartnerId(name),
                accept=True,
                reason="validated",
                number=1,
                signature=b"",
            )
            nodes = desk.store()
            nodes.versions.add_vote(vote)
            nodes.close()
        return version

    def start(self, name: str) -> None:
        desk = self.desks[name]
        session = self.stack.enter_context(serving.scoring_session(desk))
        self.nodes[name] = self.loop.call(self._start(desk, session))

    async def _start(self, desk: wiring.Desk, session: ScoringSession) -> Live:
        stop = asyncio.Event()
        ports = Ports(
            dial=desk.dial,
            pin=serving.SignedPin(desk).get,
            handle=echo,
            entropy=lambda size: wiring.entropy().expose()[:size],
            scoring=session,
        )
        link = asyncio.create_task(Link(ports, PACE).run(stop))
        return Live(desk, session, stop, link, asyncio.create_task(session.run(stop)))

    async def until_joint(self) -> None:
        """The epoch's key is made, all customers have tokens, every node would ask."""
        async with asyncio.timeout(WAIT_S):
            sessions = [live.session for live in self.nodes.values()]
            await _until(lambda: all(one.status().epoch_installed for one in sessions))
            await asyncio.gather(
                *(live.session.tokenize(lambda _progress: None) for live in self.nodes.values())
            )
            await _until(lambda: all(self._ready(one) for one in sessions))

    def _ready(self, session: ScoringSession) -> bool:
        status = session.status()
        return not status.fallback and len(status.roster) == len(self.nodes)

    async def kill(self, name: str) -> None:
        """Its streams end without a goodbye."""
        live = self.nodes[name]
        live.link.cancel()
        live.work.cancel()
        await asyncio.gather(live.link, live.work, return_exceptions=True)

    def close(self) -> None:
        async def stop() -> None:
            for live in self.nodes.values():
                live.stop.set()
            tasks = [task for live in self.nodes.values() for task in (live.link, live.work)]
            await asyncio.wait(tasks, timeout=10)
            await self.server.stop()
            self.relaying.cancel()

        self.loop.call(stop(), 30)
        self.stack.close()


async def _until(holds: Callable[[], bool]) -> None:
    """Look again each time the loop has gone round; nothing here depends on how often."""
    while not holds():  # noqa: ASYNC110 - state of another party, without an event
        await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory, loop: Loop) -> Iterator[Joint]:
    found = Joint(tmp_path_factory.mktemp("joint"), loop)
    loop.call(found.until_joint(), WAIT_S)
    yield found
    found.close()


def expected(person: str, answering: set[str]) -> tuple[str, dict[str, int]]:
    """Band and family sums of a person, from the plain tables."""
    totals = dict.fromkeys(("repayment", "billing"), 0)
    holders = 0
    for name in answering:
        value = ROWS[name].get(person)
        if value is not None:
            holders += 1
            for family in FAMILIES[name]:
                totals[family] += partial(family, value)
    return ("0", "1", "2", "3+")[min(3, holders)], totals


def seen(answer: JointAnswer) -> tuple[str, dict[str, int]]:
    return answer.band, {part.name: part.total for part in answer.families}


async def ask(joint: Joint, name: str, people: list[str]) -> list[JointAnswer]:
    asked = [applicant(person) for person in people]
    return await joint.nodes[name].session.ask(asked, deadline_ms=PATIENT_MS)


def test_score_is_the_plain_sum_and_the_coordinator_sees_neither_person_nor_token(
    joint: Joint, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire: list[bytes] = []
    decode, encode = codec.decode_up, codec.encode_down

    def decoded(kind: StreamKind, data: bytes, **limits: int) -> Frame:
        wire.append(data)
        return decode(kind, data, **limits)

    def encoded(kind: StreamKind, frame: Frame) -> bytes:
        wire.append(encode(kind, frame))
        return wire[-1]

    monkeypatch.setattr(codec, "decode_up", decoded)
    monkeypatch.setattr(codec, "encode_down", encoded)
    people = [f"CLIENT{number}" for number in range(0, 60, 3)] + ["STRANGER1"]
    found = joint.loop.call(ask(joint, "bank_a", people), WAIT_S)
    for person, answer in zip(people, found, strict=True):
        assert answer.fallback == ""
        assert seen(answer) == expected(person, set(FAMILIES))
        assert answer.model == joint.version
    data = b"".join(wire)
    assert len(data) > 10_000
    assert b"CLIENT" not in data
    assert b"STRANGER" not in data
    store = wiring_store(joint, "bank_a")
    _, tokens = store.customers(1)
    store.close()
    assert len(tokens) == len(ROWS["bank_a"])
    assert not [one for one in tokens if one.tobytes() in data]
    assert not [one for one in tokens if one.tobytes().hex().encode() in data]


def wiring_store(joint: Joint, name: str) -> ScoringStore:
    return scoring_store(joint.desks[name], operator.now)


def test_study_of_a_head_runs_over_the_same_stream(joint: Joint) -> None:
    session = joint.nodes["bank_b"].session
    rows = joint.loop.call(session.study(joint.version), WAIT_S)
    labelled = [person for number, person in enumerate(ROWS["bank_b"]) if number % 3 != 2]
    assert len(rows.labels) == len(labelled)
    expected_sums = sorted(
        tuple(expected(person, set(FAMILIES))[1].values()) for person in labelled
    )
    assert sorted(map(tuple, rows.logits.tolist())) == expected_sums


def test_partner_killed_in_the_middle_of_1000_requests_leaves_every_answer_with_a_true_band(
    joint: Joint,
) -> None:
    people = [f"CLIENT{number}" for number in range(200, 1_200)]
    everybody = set(FAMILIES)
    survivors = everybody - {KILLED}
    waiting = iter(people)
    found: dict[str, JointAnswer] = {}

    async def desk() -> None:
        for person in waiting:
            (found[person],) = await ask(joint, "bank_a", [person])
            if len(found) == len(people) // 3:
                await joint.kill(KILLED)

    async def story() -> None:
        await asyncio.gather(*(desk() for _ in range(16)))

    joint.loop.call(story(), 2 * WAIT_S)
    assert len(found) == len(people)
    whole = reduced = local = 0
    for person, answer in found.items():
        if answer.fallback:
            local += 1
            assert answer.band == "0"
            continue
        whole += seen(answer) == expected(person, everybody)
        reduced += seen(answer) == expected(person, survivors)
        assert seen(answer) in (expected(person, everybody), expected(person, survivors))
    assert whole
    assert reduced
    assert local < len(people) // 10
    (last,) = joint.loop.call(ask(joint, "bank_a", ["CLIENT199"]), WAIT_S)
    assert seen(last) == expected("CLIENT199", survivors)
    assert last.fallback == ""
    store = wiring_store(joint, "bank_a")
    logged = [one.result for one in store.accesses() if one.purpose is Purpose.JOINT_SCORE]
    store.close()
    assert len(logged) >= len(people)
