"""The coordinator's side of joint scores, put together and attached to its streams."""

from dataclasses import dataclass

from consortium.inquiries import Roster
from consortium.scoring.roster import sign_roster
from coordinator import wiring
from coordinator.control import ScoringStatus
from coordinator.inquiry_log import Batches, InquiryLog
from coordinator.joint_scoring import ScoringRelay
from coordinator.overlap_runs import OverlapLog, OverlapRuns
from coordinator.pseudonym_epochs import PseudonymEpochs
from coordinator.rosters import RosterPorts, Rosters, Served
from coordinator.scoring_storage import ScoringStore
from coordinator.storage import Store
from coordinator.streams import StreamHub

_SALT_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """The coordinator's side of joint scores, attached to a hub."""

    relay: ScoringRelay
    epochs: PseudonymEpochs
    overlaps: OverlapRuns
    inquiries: InquiryLog

    def status(self) -> ScoringStatus:
        """As it stands now; from any thread."""
        return ScoringStatus(
            epoch=self.epochs.status,
            in_flight=self.relay.in_flight,
            dropped=sum(self.relay.dropped.values()),
        )


def open_scoring(desk: wiring.Desk, hub: StreamHub) -> Scoring:
    """Build it and attach it; ``relay.run`` must then run in the hub's loop."""
    store = ScoringStore(desk.store)

    def sign(roster: Roster) -> Roster:
        return sign_roster(roster, desk.identity)

    rosters = Rosters(
        RosterPorts(
            lines=hub,
            manifest=desk.membership.current,
            served=lambda: served(desk.store),
            sign=sign,
            now_ms=wiring.now_ms,
        )
    )
    epochs = PseudonymEpochs(hub, rosters, store, now=wiring.now, append=desk.log.append)
    said = OverlapLog(entry=desk.log.entry, append=desk.log.append)
    overlaps = OverlapRuns(hub, rosters, store, said)
    batches = Batches(store, desk.log.entry, wiring.now)
    inquiries = InquiryLog(batches.keep, lambda: wiring.entropy(_SALT_BYTES).expose())
    relay = ScoringRelay(
        hub,
        rosters=rosters,
        epochs=epochs,
        overlaps=overlaps,
        inquiries=inquiries,
        now_ms=wiring.now_ms,
    )
    hub.attach(relay)
    return Scoring(relay=relay, epochs=epochs, overlaps=overlaps, inquiries=inquiries)


def served(store: Store) -> Served:
    """The model that nodes should score with, and the head over it."""
    model, head = store.models.active(), store.models.active_head()
    return (None if model is None else model.version), (None if head is None else head.version)
