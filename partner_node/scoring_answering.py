"""This partner's half of others' joint scores: check, keep, look up, mask (protocol 7.5).

The order of checks is the protocol's: first all that needs no memory
(``consortium.scoring.inquiry``), then, in one transaction that is on disk before the answer
leaves, the request id, the quotas and the retry rule. Nothing of a refusal depends on who is
held here. After it holders and strangers run through the same steps.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from consortium.errors import (
    RiskWeaveError,
    ScoreRefusal,
    ScoreRefusalError,
)
from consortium.ids import Digest, PartnerId
from consortium.inquiries import Inquiry, Purpose, ScoreAnswer, ScoreRefused, ScoreRequest
from consortium.scoring import guard
from consortium.scoring.clear import context_of
from consortium.scoring.closures import LAYOUT, allowed_columns, encode_bits
from consortium.scoring.closures import VERSION as CLOSURES
from consortium.scoring.inquiry import OpenInquiry, open_inquiry
from consortium.scoring.layout import Flags, Words, encode_holding
from consortium.scoring.pairs import PairCache
from consortium.scoring.partial import answer, refuse
from consortium.scoring.roster import Rosters
from partner_node.closure_table import ClosureTable
from partner_node.quotas import charge
from partner_node.request_rows import Admitted, Seen
from partner_node.score_table import ScoreTable
from partner_node.scoring_store import KEY_BYTES, ScoringStore

log = logging.getLogger(__name__)

Tables = Callable[[], Mapping[Digest, ScoreTable]]
Closures = Callable[[], ClosureTable | None]


class Responder:
    """Answers requests under one manifest."""

    def __init__(
        self,
        keys: PairCache,
        rosters: Rosters,
        store: ScoringStore,
        *,
        tables: Tables,
        closures: Closures,
    ) -> None:
        """``tables``, ``closures``: what is served; read again for each request."""
        self._keys, self._rosters, self._store = keys, rosters, store
        self._tables, self._closures = tables, closures
        self._withdrawn = Withdrawn(store, keys.manifest.policy.scoring.epoch)

    def answer(self, request: ScoreRequest, *, now_ms: int) -> ScoreAnswer | ScoreRefused:
        """The masked words, or the signed refusal."""
        try:
            return self._answer(request, now_ms)
        except ScoreRefusalError as error:
            log.debug("a score request is refused: %s", error)
            code = error.reason
        except RiskWeaveError:
            # The asker is told no more than that nothing comes from here.
            log.exception("a score request could not be answered")
            code = ScoreRefusal.INCOMPLETE
        context = context_of(request.inquiry, self._keys.digest)
        return refuse(context, code, self._keys)

    def _answer(self, request: ScoreRequest, now_ms: int) -> ScoreAnswer:
        served = {version: table.layout for version, table in self._tables().items()}
        closures = self._closures()
        if closures is not None:
            served[CLOSURES] = LAYOUT
        opened = open_inquiry(
            request, self._keys, rosters=self._rosters, served=served, now_ms=now_ms
        )
        generation = self._admit(opened, now_ms)
        if closures is not None and opened.inquiry.purpose is Purpose.CLOSURE_SIGNAL:
            words = self._bits(opened, closures, generation)
        else:
            words = self._words(opened, self._withdrawn.at(generation, opened.inquiry.purpose))
        return answer(opened, words, self._keys)

    def _bits(self, opened: OpenInquiry, table: ClosureTable, generation: int) -> Words:
        """Three bits a person; who withdrew from either consent here says the less (7.17)."""
        tokens = opened.receipts.tokens
        bits, held = table.lookup(tokens)
        listed = split16(tokens)
        signal = self._withdrawn.at(generation, Purpose.CLOSURE_SIGNAL)
        study = self._withdrawn.at(generation, Purpose.IMPACT_STUDY)
        barred: Flags = np.array([token in signal for token in listed])
        allowed = allowed_columns(opened.receipts)
        allowed[:, 1:] &= ~np.array([[token in study] for token in listed])
        return encode_bits(bits, held & ~barred, allowed=allowed)

    def _admit(self, opened: OpenInquiry, now_ms: int) -> int:
        """Charge and keep the request; returns the generation of withdrawals."""
        inquiry = opened.inquiry
        persons = persons_of(inquiry.requester, opened.receipts.tokens)
        roster = self._rosters.find(inquiry.roster_version, now=now_ms // 1000)
        whole = inquiry.roster == roster.partners
        with self._store.request() as rows:
            if rows.knows(inquiry.request):
                raise ScoreRefusalError(ScoreRefusal.REPLAY, f"request {inquiry.request}")
            charge(rows, inquiry, self._keys.manifest.policy.scoring, now_ms=now_ms)
            history = rows.history(inquiry.requester, persons)
            check_roster(history, inquiry, persons, now_ms=now_ms, whole=whole)
            rows.note(
                Admitted(
                    request=inquiry.request,
                    requester=inquiry.requester,
                    purpose=inquiry.purpose,
                    persons=inquiry.persons,
                    context=opened.context,
                    consents=inquiry.consents,
                )
            )
            rows.note_persons(
                inquiry.requester, persons, seen_now(inquiry, now_ms=now_ms), history
            )
            return rows.generation()

    def _words(self, opened: OpenInquiry, withdrawn: frozenset[bytes]) -> Words:
        tokens = opened.receipts.tokens
        holding = self._tables()[opened.inquiry.model].lookup(tokens)
        # The same steps for all: an absent person is looked for among the withdrawn, too.
        barred: Flags = np.array([token in withdrawn for token in split16(tokens)])
        allowed = opened.receipts.allowed(len(opened.layout.families)) & holding.covered
        return encode_holding(
            opened.layout, holding.logits, holding.held & ~barred, allowed=allowed
        )


def split16(tokens: NDArray[np.uint8]) -> list[bytes]:
    """The rows of an array of shape (n, 16), each as bytes."""
    data = tokens.tobytes()
    return [data[start : start + KEY_BYTES] for start in range(0, len(data), KEY_BYTES)]


class Withdrawn:
    """Tokens of customers who withdrew, read again when a withdrawal was written."""

    def __init__(self, store: ScoringStore, epoch: int) -> None:
        self._store, self._epoch = store, epoch
        self._generation = -1
        self._tokens: Mapping[Purpose, frozenset[bytes]] = {}

    def at(self, generation: int, purpose: Purpose) -> frozenset[bytes]:
        """Those of this purpose, as of that generation or later."""
        if generation != self._generation:
            self._tokens = self._store.withdrawn_tokens(self._epoch)
            self._generation = generation
        return self._tokens[purpose]

    def forget(self) -> None:
        """Tokens have come or gone: read again."""
        self._generation = -1


def persons_of(asker: PartnerId, tokens: NDArray[np.uint8]) -> list[bytes]:
    """Under which the retry rule keeps each person: never the token itself (7.4, 7.9)."""
    return guard.seen_keys(asker, split16(tokens))


def check_roster(
    history: Mapping[bytes, Sequence[Seen]],
    inquiry: Inquiry,
    persons: Sequence[bytes],
    *,
    now_ms: int,
    whole: bool,
) -> None:
    """Raise ScoreRefusalError (S10) if the retry rule forbids it for any person (7.9)."""
    asked = guard.asked_of(inquiry)
    # Who was never asked about may be asked for with the whole roster, and only so.
    for person in history if whole else dict.fromkeys(persons):
        guard.decide(seen_of(history.get(person, ())), asked, now_ms=now_ms, whole=whole)


def seen_of(history: Sequence[Seen]) -> list[guard.Seen]:
    """Stored rows as the rule reads them."""
    return [
        guard.Seen(request=one.request, roster=Digest(one.roster.hex()), at_ms=one.at_ms)
        for one in history
    ]


def seen_now(inquiry: Inquiry, *, now_ms: int) -> Seen:
    """The roster that the persons of an inquiry are asked for with, as it is kept."""
    return Seen(inquiry.request, bytes.fromhex(guard.asked_of(inquiry).roster), now_ms)
