"""What all doors of the credit desk do: bytes in, bytes out, one reader, one answer.

A request is a JSON document through gRPC as well as through REST: so a name that no rule may
see is refused by its name at every door, where a message of numbered fields would drop it
unseen (credit 3.6). What is answered are the bytes that were kept.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from consortium.canonical import canonical_json
from consortium.documents import plain_of
from consortium.errors import DecodeError, OutOfOrderError, RiskWeaveError
from consortium.inquiries import LARGEST_BATCH
from partner_node.credit.application import DEADLINE_MS, DeskService
from partner_node.credit.forms import batch_of, override_of, parse_json
from partner_node.loan_desk import Failure, failure_of

LARGEST_LIST = 1 << 20
"""Bytes of one document with several applications."""


class Asked(Protocol):
    """One application of several."""

    @property
    def document(self) -> bytes:
        """JSON. Private."""

    @property
    def key(self) -> str:
        """Idempotency key; empty: none."""


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

    async def decide_many(
        self, asked: Sequence[Asked], *, caller: str, deadline_ms: int
    ) -> list[bytes | Failure]:
        """Decide on 1 to 256 applications, as if one after the other; each fails alone.

        Raises:
            DecodeError: none, or more than 256.
        """
        return await self._many(
            [(partial(parse_json, one.document), one.key) for one in asked],
            caller,
            deadline_ms,
        )

    async def decide_listed(self, body: bytes, *, caller: str, deadline_ms: int) -> bytes:
        """As ``decide_many``, both of JSON.

        Args:
            body: ``requests``, each with ``application`` and maybe ``idempotency_key``.
            caller: As of ``decide``.
            deadline_ms: Time for all joint answers.

        Returns:
            ``results`` in order, each a ``decision`` (its bytes) or a ``failure``.
        """
        asked = batch_of(parse_json(body, most=LARGEST_LIST))
        found = await self._many(
            [(partial(_itself, one), key) for one, key in asked], caller, deadline_ms
        )
        return b'{"results":[' + b",".join(map(_result, found)) + b"]}"

    async def _many(
        self,
        asked: Sequence[tuple[Callable[[], object], str]],
        caller: str,
        deadline_ms: int,
    ) -> list[bytes | Failure]:
        if not 1 <= len(asked) <= LARGEST_BATCH:
            raise DecodeError(f"a batch has 1 to {LARGEST_BATCH} requests")
        found = await self._service.decide_many(asked, caller=caller, deadline_ms=deadline_ms)
        return [failure_of(one) if isinstance(one, RiskWeaveError) else one for one in found]

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


def _itself(plain: object) -> object:
    return plain


def _result(one: bytes | Failure) -> bytes:
    if isinstance(one, bytes):
        return b'{"decision":' + one + b"}"
    return canonical_json({"failure": {"code": one.code, "text": one.text}})
