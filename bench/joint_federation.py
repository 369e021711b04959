"""A federation of real processes that scores jointly: many customers, few real tokens.

Set-up is the rehearsal's own. All partners but those that lack a person by its number hold
the same persons. Persons who are never asked about get random tokens, written straight into
each node's ``scoring.db`` under its own local key: the table that a score is looked up in is
as large as in life, and the set-up does not take an hour. Who is asked about is tokenised by
the protocol.
"""

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import numpy as np

from consortium.identity.person import PersonRule, person_input
from coordinator import control
from partner_node import node_control, wiring
from partner_node.config_reading import load_config
from partner_node.people import People
from partner_node.scoring_store import ScoringStore
from rehearsal.processes import RehearsalError
from riskweave_client import Applicant, AsyncClient, Client, Consent, Score
from tests.integration.federation import Federation
from tests.simulator import SCHEMA

CONSENT = Consent("bench")
EPOCH = 1
LACKS = 5
"""Each partner lacks every fifth person, another one each."""
_RULE = PersonRule.parse("xx/record")

_HEAD = """
[rehearsal]
title = "bench"
epsilon = "1"
max_partners_per_person = {partners}
min_partners = 2
vote_quorum = {partners}

[rehearsal.gate]
most_changes = "1"
least_agreement = "0"
most_partner = "1"
most_family = "1"

[rehearsal.scoring]
delivery = "joint"
epoch = 1
identifier = "xx/record"
scores_per_second = 1000000
scores_per_day = 100000000
tokens_per_second = 1000000
tokens_per_day = 100000000
load_hours = 0

[plan]
rounds = {rounds}
holdout_salt = "bench"
"""
_BLOCK = """
[[block]]
name = "{name}"
families = ["{name}"]
normaliser = {rows}
"""
_PARTNER = """
[[partner]]
id = "{name}"
families = ["{family}"]
query = "SELECT * FROM '{name}.parquet'"
person = "person"
label = "bad"
budget = {{ run_epsilon = "1", lifetime_epsilon = "8" }}
"""
_FAMILIES = ("repayment", "billing")
_SLOPES = {"repayment": "10 * late", "billing": "30 * used"}
_COLUMNS = {
    "repayment": "(hash(i, 1) % 5)::INT AS late",
    "billing": "(hash(i, 2) % 1000) / 1000.0 AS used",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything."""

    partners: int
    persons: int
    """Customers of each partner."""
    asked: int
    """Numbers of persons that are asked about, from 0: they have real tokens."""
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class Bench:
    """The running federation."""

    federation: Federation
    size: Size

    @property
    def names(self) -> tuple[str, ...]:
        """All partners."""
        return tuple(str(party.id) for party in self.federation.rehearsal.parties)

    @property
    def door(self) -> str:
        """The desk of the first partner, which asks."""
        return f"unix:{load_config(self.federation.directory(self.names[0])).desk_socket}"

    def customers(self) -> list[str]:
        """Persons with a real token whom the asker holds."""
        return [_name(i) for i in range(self.size.asked) if i % LACKS]

    def strangers(self) -> list[str]:
        """Persons with a real token whom the asker does not hold: applicants."""
        return [_name(i) for i in range(0, self.size.asked, LACKS)]


@contextmanager
def running(directory: Path, size: Size) -> Iterator[Bench]:
    """Set up, trained, voted for, tokenised, every desk answering jointly."""
    file = _written(directory, size)
    with Federation.running(directory, file) as federation:
        bench = Bench(federation, size)
        _fill(bench)
        version = trained(federation)
        federation.steps.vote_all(version)
        tokenise(bench)
        until_joint(bench)
        yield bench


def trained(federation: Federation) -> str:
    """The version that the rehearsal's plan gives, however long many partners take."""
    events = control.start_run(federation.places.control_socket, federation.rehearsal.plan_text)
    last = list(events)[-1]
    if last.stage != "finished":
        raise RehearsalError(f"the run {last.stage}: {last.text}")
    return last.version


def tokenise(bench: Bench) -> None:
    """Have every node load the tokens that it lacks, all at once."""
    threads = [
        threading.Thread(target=_tokenise, args=(bench.federation.directory(name),))
        for name in bench.names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def until_joint(bench: Bench) -> None:
    """Wait until every node would ask all the others."""

    def joint(name: str) -> bool:
        for found in node_control.ask(bench.federation.directory(name), "scoring"):
            roster = found["roster"]
            if found["fallback"] or len(roster) < len(bench.names):  # type: ignore[arg-type]
                return False
        return True

    for name in bench.names:
        wait = partial(joint, name)
        bench.federation.wait(wait, what=f"{name} scores jointly", blame=name)


def _tokenise(directory: Path) -> None:
    pause = threading.Event()
    while not any(one["epoch_installed"] for one in node_control.ask(directory, "scoring")):
        pause.wait(0.1)
    for _ in node_control.ask(directory, "tokenize"):
        pass


def _written(directory: Path, size: Size) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    text = _HEAD.format(partners=size.partners, rounds=size.rounds)
    rows = size.persons * size.partners // len(_FAMILIES)
    text += "".join(_BLOCK.format(name=family, rows=rows) for family in _FAMILIES)
    for place in range(size.partners):
        name, family = f"p{place:02d}", _FAMILIES[place % 2]
        text += _PARTNER.format(name=name, family=family)
        query = (
            f"SELECT 'n' || lpad(i::VARCHAR, 8, '0') AS person, {_COLUMNS[family]}, "
            f"(hash(i, 3) % 100 < 6 + {_SLOPES[family]})::INT AS bad "
            f"FROM range({_numbers(size)}) AS numbers(i) WHERE i % {LACKS} <> {place % LACKS}"
        )
        duckdb.execute(f"COPY ({query}) TO '{directory}/{name}.parquet' (FORMAT parquet)")
    file = directory / "rehearsal.toml"
    file.write_text(text, encoding="utf-8")
    return file


def _numbers(size: Size) -> int:
    return size.persons * LACKS // (LACKS - 1)


def _name(number: int) -> str:
    return f"n{number:08d}"


def _fill(bench: Bench) -> None:
    """Random tokens for all who are never asked about."""
    total = _numbers(bench.size)
    inputs = [person_input(_RULE, _name(i)) for i in range(bench.size.asked, total)]
    for place, name in enumerate(bench.names):
        directory = bench.federation.directory(name)
        key = wiring.open_desk(directory).keys.local(wiring.entropy)
        people = People(lambda text: person_input(_RULE, text), key)
        drawn = np.random.default_rng(place).bytes(16 * len(inputs))
        pairs = [
            (people.subject(x), drawn[16 * at : 16 * at + 16])
            for at, x in enumerate(inputs)
            if (at + bench.size.asked) % LACKS != place % LACKS
        ]
        store = ScoringStore(load_config(directory).scoring_database, now=wiring.now)
        with closing(store):
            store.keep_tokens(EPOCH, pairs, customers=True)


# --- asking -----------------------------------------------------------------------------------


def one_by_one(
    door: str, persons: Sequence[str], attributes: Mapping[str, float] | None = None
) -> tuple[list[float], int]:
    """Milliseconds from question to answer at the door, and how many answers were local."""
    found, local = [], 0
    with Client(door) as desk:
        desk.status()
        for person in persons:
            began = time.perf_counter()
            score = desk.score(person, CONSENT, attributes)
            found.append(1000 * (time.perf_counter() - began))
            local += not score.joint
    return found, local


async def together(door: str, persons: Iterable[str], clients: int) -> int:
    """Single questions of several clients at a time; returns how many answers were local."""
    source = iter(persons)
    async with AsyncClient(door) as desk:

        async def ask() -> int:
            return sum([not (await desk.score(one, CONSENT)).joint for one in source])

        return sum(await asyncio.gather(*(ask() for _ in range(clients))))


def in_one_batch(door: str, persons: Iterable[str]) -> int:
    """One batch; returns how many answers were local, or none at all."""
    asked = [Applicant(person, CONSENT, brief=True) for person in persons]
    with Client(door) as desk:
        return sum(
            not (isinstance(one, Score) and one.joint) for one in desk.score_batch(asked)
        )
