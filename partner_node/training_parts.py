"""What trains in a node's directory, put together: sessions, and the sums that they ask for.

The training process is built from it, which is started before any channel exists; so are a
replay of its uploads and a vote. The libraries that read rows are loaded when rows are read.
"""

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from consortium.errors import RefusalCode, RefusalError, RiskWeaveError
from partner_node import wiring
from partner_node.budget import caps
from partner_node.config import LOCAL_RAY
from partner_node.engine_process import Cluster, EngineProcess, private_environment
from partner_node.keystore import Pin, Stamp

if TYPE_CHECKING:
    from consortium.features.schema import Schema
    from consortium.manifest import Manifest
    from consortium.plan import TrainingPlan
    from partner_node.hazard_sums import HazardSums
    from partner_node.local_sums import Sums
    from partner_node.part_bytes import Rows
    from partner_node.replaying import Premises
    from partner_node.study import Studies
    from partner_node.training_session import TrainingSession

log = logging.getLogger(__name__)


def worker_sessions(
    directory: Path, study: "Studies | None" = None
) -> "Callable[[object], TrainingSession]":
    """What the training process answers with: one session for each pinned manifest.

    Args:
        directory: The node's.
        study: Where joint sums are asked for; None: no head can be trained here.
    """
    desk = wiring.enter_worker(directory)
    sessions = Sessions(desk, study)
    return lambda _context: sessions.current()


class Sessions:
    """Builds the session anew when the operator has pinned another manifest."""

    def __init__(self, desk: wiring.Desk, study: "Studies | None") -> None:
        self._desk = desk
        self._study = study
        self._store = desk.store()
        self._seen: Stamp | None = None
        self._session: TrainingSession | None = None

    def current(self) -> "TrainingSession":
        """The session under the manifest that is pinned now.

        Raises:
            RefusalError: none is in force, or the kill switch is on.
        """
        self._desk.switch.check()
        try:
            seen = self._desk.keys.trust_stamp
            if self._session is None or seen != self._seen:
                self._session, self._seen = self._build(self._desk.pinned()), seen
        except (OSError, RiskWeaveError) as error:
            log.warning("no session: %s", error)
            raise RefusalError(RefusalCode.MANIFEST, "no manifest is in force here") from error
        return self._session

    def _build(self, pin: Pin) -> "TrainingSession":
        from partner_node.log_gate import LogGate  # noqa: PLC0415 - as the session
        from partner_node.plan_checks import SessionFacts  # noqa: PLC0415 - loads models
        from partner_node.training_ports import SessionKeys  # noqa: PLC0415 - as the session
        from partner_node.training_session import (  # noqa: PLC0415 - loads numpy and models
            TrainingSession,
        )

        desk = self._desk
        mirror = wiring.mirror_of(desk, self._store)
        facts = SessionFacts(
            member=desk.config.partner,
            manifest=pin.manifest,
            schema=pin.schema,
            code=wiring.code_digest(),
            caps=dict(caps(pin.manifest.policy, wiring.own_caps(desk))),
            run_epsilon=desk.config.budget.run_epsilon,
            networks=importlib.util.find_spec("torch") is not None,
            one_process=not desk.config.engine.ray,
        )
        return TrainingSession(
            facts,
            keys=SessionKeys(identity=desk.keys.identity(), agreement=desk.keys.agreement()),
            store=self._store,
            entropy=wiring.entropy,
            open_sums=lambda plan: open_sums(desk, pin, plan, study=self._study),
            book=desk.book(hint=mirror.counted),
            gate=LogGate(mirror, pin.manifest),
            replays=self._store.replays,
        )


def open_sums(
    desk: wiring.Desk, pin: Pin, plan: "TrainingPlan", *, study: "Studies | None" = None
) -> "Sums":
    """Read this partner's table by the plan's rules; DataError if it does not fit.

    For a head and a table of premiums, ask for joint sums; TransportError if nobody can be
    asked now.
    """
    from partner_node.study import NoStudies  # noqa: PLC0415 - loads numpy

    asked = NoStudies("no scoring stream here to ask") if study is None else study
    return _sums_of(desk, (pin.manifest, pin.schema), plan, asked)


def _sums_of(
    desk: wiring.Desk,
    under: "tuple[Manifest, Schema]",
    plan: "TrainingPlan",
    studies: "Studies",
) -> "Sums":
    from consortium.plan import ModelKind  # noqa: PLC0415 - as the rest here

    if plan.model is ModelKind.HEAD:
        from partner_node.head_sums import HeadSums  # noqa: PLC0415 - loads models

        return HeadSums(plan, desk.config.partner, joint_rows=studies.rows)
    if plan.model is ModelKind.TABLE:
        from partner_node.credit.figures import entries_of  # noqa: PLC0415 - loads DuckDB
        from partner_node.table_sums import TableSums  # noqa: PLC0415 - likewise

        return TableSums(
            plan, desk.config.partner, load=lambda spec: entries_of(desk, spec, studies)
        )
    if plan.model is ModelKind.HAZARD:
        return hazard_sums(desk, plan)
    from partner_node import ingest  # noqa: PLC0415 - loads DuckDB
    from partner_node.local_sums import LocalSums  # noqa: PLC0415

    manifest, schema = under
    source = desk.data_source()
    families = manifest.member(desk.config.partner).families
    if desk.config.engine.ray:
        from partner_node.parted_sums import PartedSums, PartedTable  # noqa: PLC0415 - likewise

        table = PartedTable(rows=parts_of(desk), families=families, code=wiring.code_digest())
        member, engine = desk.config.partner, row_engine(desk)
        return PartedSums(plan, schema, member, table=table, engine=engine)
    holdout = (plan.holdout_salt, plan.holdout_fraction)
    return LocalSums(
        plan,
        schema,
        desk.config.partner,
        load=lambda bins: ingest.load(source, schema, bins, families, holdout=holdout),
    )


def parts_of(desk: wiring.Desk) -> "tuple[Rows, ...]":
    """Every part of the rows, as ``[engine]`` splits them."""
    from partner_node.part_bytes import rows_of  # noqa: PLC0415 - loads DuckDB

    settings = desk.config.engine
    return rows_of(desk.data_source(), settings.parts, settings.query)


def row_engine(desk: wiring.Desk) -> EngineProcess:
    """The cluster's process, not started yet. It inherits no setting of this program."""
    settings = desk.config.engine
    environment = {
        name: value
        for name, value in wiring.environment().items()
        if not name.startswith("RISKWEAVE_")
    }
    if settings.address == LOCAL_RAY:
        environment.update(private_environment(wiring.entropy().expose().hex()))
    cluster = Cluster(
        address=settings.address, workers=settings.workers, deadline_s=settings.deadline_s
    )
    return EngineProcess(cluster, environment)


def hazard_sums(desk: wiring.Desk, plan: "TrainingPlan") -> "HazardSums":
    """The sums over this partner's line-months, by ``lines.toml`` in its rules.

    Raises:
        ConfigurationError, DataError: as the reader of the table of lines.
    """
    from partner_node.credit.line_months import read_lines  # noqa: PLC0415 - loads DuckDB
    from partner_node.credit.lines import lines_source  # noqa: PLC0415
    from partner_node.credit.rules import FOLDER  # noqa: PLC0415
    from partner_node.hazard_sums import HazardSums  # noqa: PLC0415

    source = lines_source(desk.config.directory / FOLDER)
    return HazardSums(
        plan, desk.config.partner, load=lambda: read_lines(source, salt=plan.holdout_salt)
    )


def premises(desk: wiring.Desk, *, joint_rows: bool = False) -> "Premises":
    """What a replay of this node's uploads is made with; beside the process that serves.

    With ``joint_rows`` the serving process is asked for those of a head: if its memory has
    them no more, it asks the other partners again.
    """
    from partner_node.replaying import Premises  # noqa: PLC0415 - loads numpy and models
    from partner_node.study import SOCKET, NoStudies, SocketStudies  # noqa: PLC0415

    studies: Studies = NoStudies("joint sums are in no file")
    if joint_rows:
        studies = SocketStudies(desk.config.directory / SOCKET)
    return Premises(
        store=desk.store(),
        member=desk.config.partner,
        agreement=desk.keys.agreement(),
        open_sums=lambda plan, manifest, schema: _sums_of(
            desk, (manifest, schema), plan, studies
        ),
        code=wiring.code_digest(),
    )
