"""``python -m bench.desk_clients SOCKET``: the desk's clients, in a process of their own.

Prints the rate of busy clients, then the milliseconds of each decision at a fixed rate.
"""

import asyncio
import sys
from datetime import date

from bench.bench_desk import measure
from riskweave_client import (
    AsyncClient,
    ConsentRecord,
    CreditApplication,
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


async def main(socket: str) -> None:
    """Measure and print."""
    async with AsyncClient(f"unix:{socket}") as client:

        async def decide(place: int) -> object:
            asked = CreditApplication(
                application=f"door-{place}",
                person="11010519",
                wish=WISH,
                standing=STANDING,
                consents=CONSENTS,
            )
            return await client.decide(asked, timeout=30)

        rate, times = await measure(decide)
    print(rate, *times)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
