"""CPU of one joint score by party, for federations of different sizes, in one process.

The sessions are real, the relay is the tests' toy: it carries frames by the real codec and
keeps no books. Tables have a few persons and tokens are made up: what grows is keys, masks,
seals and signatures. The fixed offset of answers is off.
"""

import asyncio
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from consortium.identity.person import PersonRule, person_input
from consortium.ids import PartnerId
from tests import joint_house
from tests.joint_house import SCORING, House, applicant

REPEATS = 15
_FAMILIES = (("repayment",), ("billing",))
_PERSONS = tuple(f"n{number:04d}" for number in range(REPEATS + 1))
_RULE = PersonRule.parse(SCORING.identifier)
ASKER = "p00"


def cost(partners: int) -> dict[str, float]:
    """Milliseconds of CPU of the asker, of one responder and of the relay; sizes in bytes."""
    names = {f"p{place:02d}": _FAMILIES[place % 2] for place in range(partners)}
    before = joint_house.FAMILIES
    joint_house.FAMILIES = names
    try:
        with tempfile.TemporaryDirectory(prefix="rwg-") as root:
            return asyncio.run(_cost(Path(root), tuple(names)))
    finally:
        joint_house.FAMILIES = before


async def _cost(root: Path, names: tuple[str, ...]) -> dict[str, float]:
    rows = {name: dict.fromkeys(_PERSONS, 0.5) for name in names}
    house = House(root, rows, replace(SCORING, min_responders=1, answer_ms=0))
    try:
        for node in house.nodes.values():
            pairs = [
                (node.people.subject(x), hashlib.sha256(x).digest()[:16])
                for x in (person_input(_RULE, person) for person in _PERSONS)
            ]
            node.store.keep_tokens(SCORING.epoch, pairs, customers=True)
        await house.start(epoch=False, load=False)
        answering, relaying = _Meter(), _Meter()
        # The relay's own two ends, of this instance alone.
        for name, meter in (("_deliver", answering), ("_on_frame", relaying)):
            setattr(house, name, meter.of(getattr(house, name)))
        session = house.session(ASKER)
        await session.ask([applicant(_PERSONS[0])], deadline_ms=30_000)
        asker, responder, relay = [], [], []
        for person in _PERSONS[1:]:
            answering.seconds = relaying.seconds = 0.0
            began = time.process_time()
            (answer,) = await session.ask([applicant(person)], deadline_ms=30_000)
            spent = time.process_time() - began
            if answer.fallback:
                raise RuntimeError(f"a local answer: {answer.fallback}")
            asker.append(spent - answering.seconds - relaying.seconds)
            responder.append(answering.seconds / (len(names) - 1))
            relay.append(relaying.seconds)
        sizes = _sizes(house)
    finally:
        house.close()
    return {
        "asker_ms": _ms(asker),
        "responder_ms": _ms(responder),
        "relay_ms": _ms(relay),
        **sizes,
    }


def _ms(seconds: list[float]) -> float:
    return round(1000 * statistics.median(seconds), 3)


def _sizes(house: House) -> dict[str, float]:
    """Bytes of a request and of one answer as they travel."""
    found: dict[str, float] = {}
    for way, name, data in house.wire:
        if way == "up" and name == PartnerId(ASKER):
            found["request_bytes"] = len(data)
        elif way == "up":
            found["answer_bytes"] = len(data)
    return found


class _Meter:
    """CPU seconds spent in a function."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def metered(*arguments: Any) -> Any:  # noqa: ANN401 - as the function
            began = time.process_time()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.process_time() - began

        return metered
