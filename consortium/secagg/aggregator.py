"""The coordinator's half of one attempt: collect JOINs, then uploads, then one sum (3.4, 3.6).

Messages in, messages out. It holds no key: what it can do is refuse a message, name who sent
it, and give up. There is no sum of fewer than all: the masks of a missing member stay in.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from consortium.errors import OutOfOrderError
from consortium.ids import Digest, PartnerId
from consortium.manifest import Manifest
from consortium.messages import Join, SumRequest, Upload
from consortium.secagg.chain import Link
from consortium.secagg.context import context_of, joined_context
from consortium.secagg.joins import verify_ephemeral, verify_join
from consortium.secagg.ring import to_signed
from consortium.secagg.states import AGGREGATOR, AggregatorEvent, AggregatorState, after
from consortium.secagg.uploads import verify_upload

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]


class Aggregator:
    """One attempt; a retry is another attempt and another aggregator."""

    def __init__(
        self,
        manifest: Manifest,
        request: SumRequest,
        *,
        links: Mapping[PartnerId, Link],
        length: int,
    ) -> None:
        """Begin to collect JOINs.

        Args:
            manifest: Members and their keys.
            request: As it is sent to every member of its roster.
            links: Last checked link of every member of the roster.
            length: L of the run's chains.
        """
        self.request = request
        self.context = context_of(request, manifest.digest)
        self._manifest = manifest
        self._links = dict(links)
        self._length = length
        self._state = AggregatorState.COLLECTING_JOINS
        self._joins: dict[PartnerId, Join] = {}
        self._uploads: dict[PartnerId, Upload] = {}
        self._joined: Digest | None = None
        self._total: Words = np.zeros(request.dimension, dtype=np.uint64)

    @property
    def state(self) -> AggregatorState:
        """Where the attempt is."""
        return self._state

    @property
    def missing(self) -> tuple[PartnerId, ...]:
        """Members whose JOIN, or upload once all JOINs are in, is not there yet."""
        there = self._joins if self._joined is None else self._uploads
        return tuple(name for name in self.request.roster if name not in there)

    @property
    def joins(self) -> tuple[Join, ...]:
        """All JOINs, sorted: what every member is sent; OutOfOrderError before they are in."""
        self._agreed()
        return tuple(self._joins[name] for name in self.request.roster)

    @property
    def joined(self) -> Digest:
        """rctx; OutOfOrderError before all JOINs are in."""
        return self._agreed()

    @property
    def links(self) -> Mapping[PartnerId, Link]:
        """Last checked links, those of this attempt's JOINs included; keep them."""
        return dict(self._links)

    @property
    def uploads(self) -> tuple[Upload, ...]:
        """The signed envelopes that are in, sorted by member."""
        return tuple(self._uploads[name] for name in sorted(self._uploads))

    def on_join(self, join: Join) -> bool:
        """Take one member's JOIN; True when it was the last one (protocol 3.4).

        Raises:
            OutOfOrderError: of a stranger, a second one, or not the time for it.
            RefusalError: for another attempt (R15), bad signature (R14), link (R16), or a
                key of small order (R17). The attempt stays as it was.
            DecodeError: a field is not of its form.
        """
        name = join.member
        last = self.missing == (name,)
        event = AggregatorEvent.LAST_JOIN if last else AggregatorEvent.JOIN
        later = after(AGGREGATOR, self._state, event)
        if name not in self.request.roster or name not in self._links:
            raise OutOfOrderError(f"JOIN of {name}, who is not in the roster")
        if name in self._joins:
            raise OutOfOrderError(f"a second JOIN of {name}")
        link = verify_join(
            join,
            context=self.context,
            member=self._manifest.member(name),
            known=self._links[name],
            length=self._length,
        )
        verify_ephemeral(join)
        self._joins[name], self._links[name] = join, link
        self._state = later
        if last:
            self._joined = joined_context(self.context, self._joins.values())
        return last

    def on_upload(self, upload: Upload, words: Words) -> bool:
        """Take one member's words; True when they were the last ones (protocol 3.4.9).

        Raises:
            OutOfOrderError: of a stranger, a second one, for another attempt, or too early.
            ShapeError, DigestMismatchError, SignatureError: not what the member signed for
                this attempt. The attempt stays as it was.
        """
        name = upload.member
        last = self.missing == (name,)
        event = AggregatorEvent.LAST_UPLOAD if last else AggregatorEvent.UPLOAD
        later = after(AGGREGATOR, self._state, event)
        if name not in self.request.roster or name in self._uploads:
            raise OutOfOrderError(f"upload of {name}: of a stranger, or a second one")
        verify_upload(
            upload,
            words,
            context=self._agreed(),
            member=self._manifest.member(name),
            size=self.request.dimension,
        )
        np.add(self._total, words, out=self._total)
        self._uploads[name] = upload
        self._state = later
        return last

    def abort(self, reasons: Mapping[PartnerId, str]) -> dict[PartnerId, str]:
        """Give the attempt up; the members that are missing, with the reason of each.

        Args:
            reasons: A refusal code or an error class by member. A missing member that it
                does not name gave no answer; who is not missing may be named too.
        """
        self._state = after(AGGREGATOR, self._state, AggregatorEvent.ABORT)
        silent = dict.fromkeys(self.missing, "no answer")
        return silent | {
            name: reason for name, reason in reasons.items() if name in self.request.roster
        }

    def total(self) -> Integers:
        """The sum of all uploads, shape (d,); the masks have cancelled (protocol 3.4.9).

        Raises:
            OutOfOrderError: an upload is missing.
        """
        if self._state is not AggregatorState.SUMMED:
            raise OutOfOrderError(f"a sum in state {self._state.value}")
        return to_signed(self._total)

    def _agreed(self) -> Digest:
        if self._joined is None:
            raise OutOfOrderError("JOINs are missing")
        return self._joined
