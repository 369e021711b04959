"""The relay of joint scores: it carries requests and answers, and can read neither (7.4-7.6).

All of it runs in the event loop: no thread, no disk and no lock between a request and its
answers. A request is serialised once for all responders. An answer counts only if it came on
the stream of the partner that it names, once, for a request that waits for it. What was asked
of whom, and who answered, goes to the inquiry log (7.13).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from consortium.codec import Frame
from consortium.errors import OutOfOrderError, ScoreRefusal, ScoreRefusalError
from consortium.ids import Digest, PartnerId
from consortium.inquiries import (
    EpochTell,
    Inquiry,
    OprfReply,
    OprfRequest,
    OverlapTell,
    ScoreAnswer,
    ScoreAnswers,
    ScoreFailed,
    ScoreRefused,
    ScoreRequest,
)
from consortium.manifest import Manifest
from consortium.scoring.clear import context_of, parse_inquiry
from consortium.scoring.roster import check_members
from coordinator.fan_out import (
    ANSWERED,
    LEFT,
    UNHEARD,
    FanOut,
    Handlers,
    Question,
    Strays,
    packed,
)
from coordinator.inquiry_log import Ended, InquiryLog
from coordinator.pseudonym_relay import OprfRelay
from coordinator.retries import Retried, Retries
from coordinator.rosters import Lines, Rosters

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 10.0
"""However far a request's deadline is."""
_IN_FLIGHT = 64
"""Requests of one asker at a time; under load a node packs persons into batches."""
_ENVELOPE = 256
"""Bytes of an answer beside its words, at most."""


class Epochs(Protocol):
    """Who asks nodes for key generation (protocol 6.3)."""

    def on_up(self, partner: PartnerId) -> None:
        """The partner's scoring stream is up."""

    def on_down(self, partner: PartnerId) -> None:
        """It has ended."""

    def on_tell(self, partner: PartnerId, tell: EpochTell, number: int) -> bool:
        """A step, on the stream of that partner; False if nobody waits for it."""

    async def run(self) -> None:
        """Drive the epochs for as long as the coordinator serves."""


class Overlaps(Protocol):
    """Who asks two nodes for their common persons (protocol 6.10)."""

    def on_down(self, partner: PartnerId) -> None:
        """The partner's scoring stream has ended."""

    def on_tell(self, partner: PartnerId, tell: OverlapTell, number: int) -> bool:
        """An answer, on the stream of that partner; False if nobody waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that was forwarded."""

    inquiry: Inquiry
    context: Digest
    began_ms: int
    retried: Retried | None


Score = Question[Asked, ScoreAnswer | ScoreRefused]


class ScoringRelay:
    """The owner of all scoring streams. Lives in the loop."""

    def __init__(
        self,
        lines: Lines,
        *,
        rosters: Rosters,
        epochs: Epochs,
        overlaps: Overlaps,
        inquiries: InquiryLog,
        now_ms: Callable[[], int],
    ) -> None:
        self._lines = lines
        self._rosters = rosters
        self._epochs = epochs
        self._overlaps = overlaps
        self._log = inquiries
        self._now_ms = now_ms
        self._retries = Retries(now_ms)
        self._strays = Strays()
        self._oprf = OprfRelay(lines, rosters, self._strays)
        handlers = Handlers(size=_size, spill=self._spill, finish=self._finish)
        self._scores = FanOut(_IN_FLIGHT, self._strays, handlers)
        rosters.on_publish = self._strays.forgive

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames that nobody waited for, since the start: late, duplicate, stranger."""
        return self._strays.dropped

    @property
    def in_flight(self) -> int:
        """Requests that wait for answers."""
        return len(self._scores)

    def renew_rosters(self) -> None:
        """Somebody is gone for good: all are told now."""
        self._rosters.renew()

    # --- the streams --------------------------------------------------------------------------

    def on_up(self, partner: PartnerId) -> None:
        """A roster will go out, and what is missing of the epoch."""
        self._rosters.on_up(partner)
        self._epochs.on_up(partner)

    def on_down(self, partner: PartnerId) -> None:
        """Whoever waits for this partner is told at once."""
        self._rosters.on_down(partner)
        self._scores.on_down(partner)
        self._oprf.on_down(partner)
        self._epochs.on_down(partner)
        self._overlaps.on_down(partner)

    def on_frame(self, partner: PartnerId, frame: Frame) -> None:
        """Relay what came on the stream of ``partner``.

        Raises:
            OutOfOrderError: a frame that may not come now, or of a flood. Fault: the partner.
        """
        match frame.body:
            case ScoreRequest():
                self._on_request(partner, frame.body, frame.id)
            case ScoreAnswer() | ScoreRefused():
                self._on_answer(partner, frame.body)
            case OprfRequest():
                self._oprf.on_request(partner, frame.body, frame.id)
            case OprfReply():
                self._oprf.on_reply(partner, frame.body)
            case EpochTell() | OverlapTell():
                self._on_tell(partner, frame.body, frame.id)
            case _:
                raise OutOfOrderError(f"{type(frame.body).__name__} from {partner}")

    def _on_tell(self, partner: PartnerId, tell: EpochTell | OverlapTell, number: int) -> None:
        if isinstance(tell, OverlapTell):
            awaited = self._overlaps.on_tell(partner, tell, number)
        else:
            awaited = self._epochs.on_tell(partner, tell, number)
        if not awaited:
            self._strays.add(partner, "late")

    # --- requests -----------------------------------------------------------------------------

    def _on_request(self, partner: PartnerId, request: ScoreRequest, number: int) -> None:
        self._scores.check(partner, number)
        try:
            asked, absent = self._admitted(partner, request)
        except ScoreRefusalError as error:
            log.debug("%s: %s", partner, error)
            self._fail(partner, number, error.reason)
            return
        self._retries.began(asked.inquiry)
        if absent:
            self._retries.failed(asked.inquiry, absent)
            # Nobody is asked: an answer without theirs is worth nothing, and would count.
            # The asker's retry names a roster of its own, for nobody knows what it retries.
            self._rosters.renew()
            self._fail(partner, number, ScoreRefusal.INCOMPLETE, silent=absent)
            others = dict.fromkeys(asked.inquiry.roster, UNHEARD) | dict.fromkeys(absent, LEFT)
            del others[partner]
            self._keep(asked, "absent", others)
            return
        inquiry = asked.inquiry
        responders = [name for name in inquiry.roster if name != partner]
        wait_s = min((inquiry.deadline - asked.began_ms) / 1000, LONGEST_WAIT_S)
        question = Score(partner, number, asked, set(responders))
        self._scores.begin(asked.context, question, wait_s)
        if missed := self._lines.spread(responders, request):
            self._scores.lose(asked.context, missed)

    def _admitted(
        self, partner: PartnerId, request: ScoreRequest
    ) -> tuple[Asked, tuple[PartnerId, ...]]:
        """The request, if it may be forwarded, and who of its roster is not there."""
        manifest, digest = self._rosters.manifest, self._rosters.digest
        if manifest is None or digest is None:
            raise ScoreRefusalError(ScoreRefusal.MANIFEST, "no manifest is in force")
        inquiry = parse_inquiry(request.inquiry)
        if inquiry.requester != partner:
            raise ScoreRefusalError(ScoreRefusal.REQUESTER, f"a request of {inquiry.requester}")
        self._check_terms(partner, inquiry, manifest)
        sealed_to = tuple(wrap.member for wrap in request.wraps)
        if sealed_to != tuple(name for name in inquiry.roster if name != partner):
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, "wraps of other members")
        began = self._now_ms()
        if not began < inquiry.deadline:
            raise ScoreRefusalError(ScoreRefusal.DEADLINE, "the deadline has passed")
        context = context_of(request.inquiry, digest)
        self._scores.admit(partner, context)
        if self._log.full:
            raise ScoreRefusalError(ScoreRefusal.QUOTA, "inquiries cannot be recorded now")
        asked = Asked(
            inquiry=inquiry, context=context, began_ms=began, retried=self._retries.of(inquiry)
        )
        up = self._rosters.up
        return asked, tuple(name for name in inquiry.roster if name not in up)

    def _check_terms(self, partner: PartnerId, inquiry: Inquiry, manifest: Manifest) -> None:
        """What every responder will check again (protocol 7.2, 7.5, 7.16)."""
        policy = manifest.policy.scoring
        if not policy.may_ask(partner):
            raise ScoreRefusalError(ScoreRefusal.DELIVERY, f"{partner} may not ask")
        roster = self._rosters.find(inquiry.roster_version)
        if roster is None:
            raise ScoreRefusalError(ScoreRefusal.ROSTER, f"no roster {inquiry.roster_version}")
        check_members(
            roster,
            inquiry.roster,
            asker=partner,
            responder=partner,
            retry=inquiry.retry_of is not None,
            floor=policy.min_responders,
        )
        self._retries.check(inquiry, roster.partners)

    def _fail(
        self,
        asker: PartnerId,
        number: int,
        code: ScoreRefusal,
        *,
        silent: Iterable[PartnerId] = (),
        refused: Iterable[ScoreRefused] = (),
    ) -> None:
        body = ScoreFailed(
            code=code.value, silent=tuple(sorted(silent)), refused=tuple(refused)
        )
        self._lines.push(asker, body, number)

    # --- answers ------------------------------------------------------------------------------

    def _on_answer(self, partner: PartnerId, answer: ScoreAnswer | ScoreRefused) -> None:
        if answer.member != partner:
            self._strays.add(partner, "stranger")
            return
        code = answer.code if isinstance(answer, ScoreRefused) else ""
        self._scores.take(answer.context, partner, answer, code=code)

    def _spill(self, score: Score) -> None:
        """Hand over what is there, so that little is held for a large batch."""
        answers, refused = _sorted_out(score)
        if answers:
            self._lines.push(
                score.asker, ScoreAnswers(answers=answers, last=False), score.number
            )
        score.held, score.size = list(refused), 0

    def _finish(self, score: Score) -> None:
        answers, refused = _sorted_out(score)
        outcome = "answered" if score.complete else "incomplete"
        if score.asker not in self._rosters.up:
            outcome = "left"
        elif score.complete:
            frames = list(packed(answers, _size))
            for place, frame in enumerate(frames, start=1):
                body = ScoreAnswers(answers=frame, last=place == len(frames))
                self._lines.push(score.asker, body, score.number)
        else:
            code = ScoreRefusal.INCOMPLETE
            by = {m for m, how in score.status.items() if how not in (ANSWERED, UNHEARD)}
            self._retries.failed(score.subject.inquiry, by)
            self._fail(score.asker, score.number, code, silent=score.gone(), refused=refused)
        self._keep(score.subject, outcome, score.status)

    def _keep(self, asked: Asked, outcome: str, responders: Mapping[PartnerId, str]) -> None:
        self._log.add(
            Ended(
                inquiry=asked.inquiry,
                context=asked.context,
                began_ms=asked.began_ms,
                ended_ms=max(self._now_ms(), asked.began_ms),
                outcome=outcome,
                responders=responders,
                retried=asked.retried,
            )
        )

    # --- life ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Publish rosters, write the log and drive epochs; cancelled at the end."""
        async with asyncio.TaskGroup() as group:
            for part in (self._rosters.run(), self._log.run(), self._epochs.run()):
                group.create_task(part)

    async def stop(self) -> None:
        """Write down what is still in memory."""
        await self._log.flush()


def _sorted_out(
    score: Score,
) -> tuple[tuple[ScoreAnswer, ...], tuple[ScoreRefused, ...]]:
    answers = tuple(reply for reply in score.held if isinstance(reply, ScoreAnswer))
    refused = tuple(reply for reply in score.held if isinstance(reply, ScoreRefused))
    return answers, refused


def _size(reply: ScoreAnswer | ScoreRefused) -> int:
    return _ENVELOPE + (len(reply.words) if isinstance(reply, ScoreAnswer) else 0)
