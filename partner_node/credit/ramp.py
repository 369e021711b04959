"""The ramp as operators and batch jobs see it: how it stands, what fell due, signed orders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consortium.credit.admission import Event, headroom
from consortium.credit.policy import Policy
from consortium.credit.terms import GRADES
from consortium.crypto.keys import IdentityKey
from partner_node.credit import admission, storage
from partner_node.credit.admission import Kept, Order, SignedOrder
from partner_node.credit.application import DeskService
from partner_node.credit.storage import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class RampStatus:
    """How it stands. Private to the partner."""

    week: str
    phase: str
    stage_percent: int
    """Of the caps that is open in this stage."""
    good: int
    bad: int
    used: Mapping[str, int]
    """By grade, minor units."""
    left: Mapping[str, int]
    orders: int


class Ramp:
    """Growth caps and ramp of a desk."""

    def __init__(self, service: DeskService) -> None:
        self._service = service

    def status(self) -> RampStatus:
        """How it stands today."""
        policy = self._policy()
        with self._service.ports.store.reading() as connection:
            kept = admission.load(connection, self._service.today())
            count = len(storage.orders(connection))
        state, percents = kept.state, policy.growth.ramp_percent
        left = headroom(state, policy)
        return RampStatus(
            week=state.week.isoformat(),
            phase=state.phase,
            stage_percent=percents[min(state.stage, len(percents) - 1)],
            good=state.good,
            bad=state.bad,
            used=dict(zip(GRADES, state.used, strict=True)),
            left=dict(zip(GRADES, left, strict=True)),
            orders=count,
        )

    def first_payments(self, became: Mapping[str, bool]) -> Kept:
        """Take up first payments that fell due: decision -> 30 days late within 60 (FPD30).

        One look; each decision counts once (``admission.first_payments``).
        """
        return self._changed(
            lambda connection, kept: admission.first_payments(
                connection, kept, self._policy(), became
            )
        )

    def order(self, event: Event, *, role: str, reason: str, key: IdentityKey) -> SignedOrder:
        """Sign a decision about the ramp as it stands, and carry it out.

        Raises:
            OutOfOrderError: the event does not follow the ramp's phase.
            DomainError: an event that counts decide, not persons.
        """
        ports = self._service.ports
        signed: list[SignedOrder] = []

        def obeyed(connection: Connection, kept: Kept) -> Kept:
            before = admission.digest_of(kept.state)
            day = self._service.today()
            order = Order(event=event, role=role, reason=reason, on=day, before=before)
            signed.append(admission.sign(order, key))
            return admission.obey(
                connection,
                kept,
                self._policy(),
                signed[0],
                by=admission.Signer(public=key.public, at=ports.now()),
            )

        self._changed(obeyed)
        return signed[0]

    def _changed(self, change: Callable[[Connection, Kept], Kept]) -> Kept:
        def work(connection: Connection) -> Kept:
            kept = change(connection, admission.load(connection, self._service.today()))
            admission.save(connection, kept)
            return kept

        return self._service.submit(work).result()

    def _policy(self) -> Policy:
        return self._service.ports.rules.at(self._service.today()).rules.policy
