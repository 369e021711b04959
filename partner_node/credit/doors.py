"""What all doors of the credit desk do: bytes in, bytes out, one reader, one answer.

A request is a JSON document through gRPC as well as through REST: so a name that no rule may
see is refused by its name at every door, where a message of numbered fields would drop it
unseen (credit 3.6). What is answered are the bytes that were kept.
"""

import asyncio
import json
from typing import Protocol

from consortium.canonical import canonical_json
from consortium.documents import plain_of
from consortium.errors import OutOfOrderError
from partner_node.credit.application import DEADLINE_MS, DeskService
from partner_node.credit.forms import override_of, parse_json


class Papers(Protocol):
    """Offers and notices, as far as this node makes them."""

    def offer(self, plain: object, *, key: str, caller: str) -> bytes:
        """What suits an applicant: canonical JSON."""

    def notice(self, decision: str, form: str, lang: str) -> tuple[bytes, str]:
        """The notice of a decision, and its media type."""


class CreditDesk:
    """The credit desk, as doors call it. One event loop."""

    def __init__(
        self,
        service: DeskService,
        papers: Papers | None = None,
        *,
        deadline_ms: int = DEADLINE_MS,
    ) -> None:
        self._service = service
        self._papers = papers
        self.deadline_ms = deadline_ms
        """How long a decision waits for the others if its caller says nothing."""

    async def decide(self, body: bytes, *, key: str, caller: str, left_ms: int) -> bytes:
        """Decide on the application in ``body``; arguments and errors as the service's."""
        return await self._service.decide(
            parse_json(body), key=key, caller=caller, deadline_ms=min(left_ms, self.deadline_ms)
        )

    async def decision(self, name: str) -> bytes:
        """A stored decision with what officers made of it; NotFoundError."""
        return await asyncio.to_thread(self._decision, name)

    def _decision(self, name: str) -> bytes:
        answer = json.loads(self._service.decision(name).answer)
        overrides = [plain_of(one) for one in self._service.overrides(name)]
        return canonical_json({**answer, "overrides": overrides})

    async def override(self, name: str, body: bytes, *, caller: str) -> bytes:
        """An officer's final decision; arguments and errors as the service's."""
        wish = override_of(parse_json(body))
        return await asyncio.to_thread(self._service.override, name, wish, by=caller)

    async def offer(self, body: bytes, *, key: str, caller: str) -> bytes:
        """What suits an applicant; OutOfOrderError if this node makes no offers."""
        papers, plain = self._made(), parse_json(body)
        return await asyncio.to_thread(papers.offer, plain, key=key, caller=caller)

    async def notice(self, name: str, form: str, lang: str) -> tuple[bytes, str]:
        """The notice of a decision and its media type; OutOfOrderError, NotFoundError."""
        return await asyncio.to_thread(self._made().notice, name, form, lang)

    def _made(self) -> Papers:
        if self._papers is None:
            raise OutOfOrderError("this node makes no offers and no notices")
        return self._papers
