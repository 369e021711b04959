"""The relay of blinded points to t key holders and back (protocol 6.4).

Blinded points are uniform, so nothing is learnt here but who asks for how many. As in
``joint_scoring``, all of it runs in the loop and an answer counts only from its own stream.
"""

import logging

from consortium.errors import ScoreRefusal, ScoreRefusalError
from consortium.ids import PartnerId
from consortium.inquiries import OprfReplies, OprfReply, OprfRequest
from coordinator.fan_out import (
    LEFT,
    SILENT,
    UNHEARD,
    FanOut,
    Handlers,
    Question,
    Strays,
    packed,
)
from coordinator.rosters import Lines, Rosters

log = logging.getLogger(__name__)

WAIT_S = 10.0
_IN_FLIGHT = 8
_ENVELOPE = 256

Blinded = Question[OprfRequest, OprfReply]


class OprfRelay:
    """Requests for evaluation that are under way. Lives in the loop."""

    def __init__(self, lines: Lines, rosters: Rosters, strays: Strays) -> None:
        self._lines = lines
        self._rosters = rosters
        self._strays = strays
        handlers = Handlers(size=_size, spill=self._spill, finish=self._finish)
        self._asked = FanOut(_IN_FLIGHT, strays, handlers)

    def on_request(self, partner: PartnerId, request: OprfRequest, number: int) -> None:
        """Forward it to each server but the asker; raises OutOfOrderError for a bad id."""
        self._asked.check(partner, number)
        servers = [name for name in request.servers if name != partner]
        try:
            self._check(partner, request, servers)
            self._asked.admit(partner, request.request)
        except ScoreRefusalError as error:
            log.debug("%s: %s", partner, error)
            refusal = OprfReplies(replies=(), missing=(), code=error.reason.value)
            self._lines.push(partner, refusal, number)
            return
        up = self._rosters.up
        if absent := tuple(name for name in servers if name not in up):
            # An evaluation by fewer is worth nothing, and would count against quotas.
            refusal = OprfReplies(
                replies=(), missing=absent, code=ScoreRefusal.INCOMPLETE.value
            )
            self._lines.push(partner, refusal, number)
            return
        self._asked.begin(
            request.request, Blinded(partner, number, request, set(servers)), WAIT_S
        )
        if missed := self._lines.spread(servers, request):
            self._asked.lose(request.request, missed)

    def _check(
        self, partner: PartnerId, request: OprfRequest, servers: list[PartnerId]
    ) -> None:
        manifest = self._rosters.manifest
        if manifest is None:
            raise ScoreRefusalError(ScoreRefusal.MANIFEST, "no manifest is in force")
        if request.requester != partner:
            raise ScoreRefusalError(ScoreRefusal.REQUESTER, f"a request of {request.requester}")
        if request.epoch != manifest.policy.scoring.epoch:
            raise ScoreRefusalError(ScoreRefusal.EPOCH, f"epoch {request.epoch}")
        active = {member.id for member in manifest.partners}
        if not servers or not active.issuperset(request.servers):
            raise ScoreRefusalError(ScoreRefusal.SERVERS, "servers that are no partners")

    def on_reply(self, partner: PartnerId, reply: OprfReply) -> None:
        """Match a reply; raises OutOfOrderError for one of too many strays."""
        if reply.member != partner:
            self._strays.add(partner, "stranger")
            return
        self._asked.take(reply.request, partner, reply, code=reply.code)

    def on_down(self, partner: PartnerId) -> None:
        """Nothing comes from there any more."""
        self._asked.on_down(partner)

    def _spill(self, asked: Blinded) -> None:
        self._lines.push(
            asked.asker, OprfReplies(replies=tuple(asked.held), missing=()), asked.number
        )
        asked.held, asked.size = [], 0

    def _finish(self, asked: Blinded) -> None:
        if asked.asker not in self._rosters.up:
            return
        frames = list(packed(asked.held, _size))
        missing = tuple(
            sorted(m for m, how in asked.status.items() if how in (LEFT, SILENT, UNHEARD))
        )
        for place, frame in enumerate(frames, start=1):
            last = missing if place == len(frames) else ()
            body = OprfReplies(replies=frame, missing=last)
            self._lines.push(asked.asker, body, asked.number)


def _size(reply: OprfReply) -> int:
    return _ENVELOPE + len(reply.points)
