"""``python -m tests.credit_clients DIR NAME COUNT``: one process of concurrent clients.

Waits for a line on standard input, so that all processes begin together; prints the limits
that were granted, and how many were referred because the week's volume was used up.
"""

import asyncio
import json
import sys
from pathlib import Path

from partner_node.credit.application import DeskService
from tests.credit_desk_house import application, desk


async def ask(service: DeskService, name: str, count: int) -> list[dict[str, object]]:
    """As many decisions at once."""
    calls = (
        service.decide(application(f"{name}-{place}"), caller=name) for place in range(count)
    )
    return [json.loads(answer)["decision"] for answer in await asyncio.gather(*calls)]


def main(directory: str, name: str, count: str) -> None:
    """Ask and print."""
    with desk(Path(directory)) as service:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        made = asyncio.run(ask(service, name, int(count)))
    limits = [one["limit"] for one in made if one["outcome"] == "APPROVE"]
    referred = sum(one["code"] == "R27" for one in made)
    sys.stdout.write(json.dumps({"limits": limits, "referred": referred}))


if __name__ == "__main__":
    main(*sys.argv[1:])
