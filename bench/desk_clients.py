"""``python -m bench.desk_clients SOCKET WHAT``: the desk's clients, in a process of their own.

Prints a rate, then the milliseconds of each decision that arrived at a fixed rate.
"""

import asyncio
import sys
import time
from datetime import date

from bench.bench_desk import CALM, DECISIONS, arriving, measure
from riskweave_client import (
    AskedDecision,
    AsyncClient,
    ConsentRecord,
    CreditApplication,
    CreditDecision,
    Income,
    Standing,
    Wish,
)

CONSENTS = tuple(
    ConsentRecord(purpose=purpose, id=f"c-{purpose.lower()}", given_on=date(2026, 11, 20))
    for purpose in ("CREDIT_DECISION", "JOINT_SCORE", "INCOME_DATA")
)
WISH = Wish(
    product="instalment_small",
    purpose="DURABLES",
    amount=6_000_000,
    currency="TWD",
    tenor_months=12,
)
STANDING = Standing(
    adult=True,
    has_history=True,
    income=Income(credits=(6_000_000,) * 3, latest_on=date(2026, 11, 5)),
)


def _application(place: int, person: str = "11010519") -> CreditApplication:
    return CreditApplication(
        application=f"door-{place}",
        person=person,
        wish=WISH,
        standing=STANDING,
        consents=CONSENTS,
    )


async def main(socket: str, what: str) -> None:
    """Measure ``single``, ``calm``, ``batch`` or ``helps`` and print."""
    async with AsyncClient(f"unix:{socket}") as client:

        async def decide(place: int) -> object:
            return await client.decide(_application(place), timeout=30)

        async def mixed(place: int) -> object:
            person = "11010519" if place % 4 else "late"
            return await client.decide(_application(place, person), timeout=30)

        rate, times = 0.0, list[float]()
        if what == "single":
            rate, times = await measure(decide)
        elif what == "calm":
            times = await arriving(decide, 10 * DECISIONS, CALM)
        elif what == "helps":
            await mixed(40 * DECISIONS)  # the process of searches begins
            times = await arriving(mixed, 20 * DECISIONS)
        else:
            rate = await _portfolio(client)
    print(rate, *times)


async def _portfolio(client: AsyncClient) -> float:
    began, count = time.perf_counter(), 0
    asked = (
        AskedDecision(_application(30 * DECISIONS + place)) for place in range(8 * DECISIONS)
    )
    async for one in client.decide_many(asked):
        count += isinstance(one, CreditDecision)
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
