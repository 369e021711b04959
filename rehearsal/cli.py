"""``riskweave rehearse``: one file in, a federation in between, a report out."""

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

import numpy as np
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from consortium.errors import ConfigurationError
from consortium.features.bins import Bins
from consortium.ids import PartnerId
from consortium.plan import TrainingPlan
from coordinator.events import RunEvent
from partner_node import ingest
from partner_node.ingest import EncodedTable
from rehearsal.budgets import all_runs
from rehearsal.config import Rehearsal, source_of
from rehearsal.config_reading import load_rehearsal
from rehearsal.federation import Places, Watcher
from rehearsal.processes import RehearsalError
from rehearsal.results import Result, figure_of
from rehearsal.run import run_federation
from rehearsal.summary_desk import desk_lines

MARK = ".riskweave-rehearsal"
"""File that shows that a directory is an earlier rehearsal's and may be overwritten."""
_UNNOTICED = 4
"""Exit status if something that was altered went unnoticed."""
_LONGEST = 107 - len("/control.sock")
"""Bytes of the coordinator's directory: a unix socket's path has 107 (unix(7))."""
_NOTICES = tuple(f"notice.{lang}.{form}" for lang in ("zh", "en") for form in ("html", "pdf"))
_OURS = (
    "work",
    "logs",
    "audit",
    "audit.zip",
    "tampered",
    "tampered-1.zip",
    "tampered-2.zip",
    "report.json",
    "report.html",
    *_NOTICES,
)
_WATCHER = PartnerId("regulator")
"""The live regulator of a federation that is tampered with, if the file names none."""


def main(argv: Sequence[str]) -> int:
    """Run ``riskweave rehearse ARGV``; returns the exit status."""
    arguments = _parser().parse_args(argv)
    rehearsal = load_rehearsal(arguments.file, epsilon=arguments.epsilon)
    if arguments.tamper and rehearsal.regulator is None:
        rehearsal = replace(rehearsal, regulator=_WATCHER)
    with ExitStack() as stack:
        stack.enter_context(_terminated_like_interrupted())
        watcher = _watcher(stack, as_json=arguments.json)
        places = _fresh(arguments.report)
        try:
            result = rehearse(rehearsal, places, watcher, tamper=arguments.tamper)
        except RehearsalError as error:
            if error.evidence:
                print(error.evidence, file=sys.stderr)
            raise
        watcher.step("writing the report")
        from rehearsal.report import write_report  # noqa: PLC0415 - loads matplotlib: seconds

        page = write_report(result, arguments.report)
    if not arguments.keep:
        shutil.rmtree(places.work)
    _tell_end(result, page, as_json=arguments.json)
    tampered = result.record.tampered
    return 0 if tampered is None or tampered.found else _UNNOTICED


def _tell_end(result: Result, page: Path, *, as_json: bool) -> None:
    audit, tampered = result.record.audit, result.record.tampered
    if as_json:
        if tampered is not None:
            print(json.dumps({"tampered": str(tampered.page), "found": tampered.found}))
        if audit is not None:
            print(json.dumps({"audit": str(audit.page), "verdict": audit.verdict}))
        print(json.dumps({"report": str(page)}))
        return
    print("\n".join(_summary(result)))
    print(f"\nreport: {page}")
    if audit is not None:
        print(f"audit:  {audit.page}\nregulator's verdict: {audit.verdict}")
    if tampered is not None:
        verdict = "all of it was found" if tampered.found else "NOT ALL OF IT WAS FOUND"
        print(f"tampered with: {tampered.page}\n{verdict}")


def rehearse(
    rehearsal: Rehearsal, places: Places, watcher: Watcher, *, tamper: bool = False
) -> Result:
    """Run the federation, then compute what only the rehearsal can."""
    began = time.monotonic()
    watcher.step("checking every partner's table")
    _check_tables(rehearsal, watcher)
    record = run_federation(rehearsal, places, watcher, tamper=tamper)
    watcher.step("computing what the model would have been without privacy")
    from rehearsal.baselines import Released  # noqa: PLC0415 - loads scikit-learn: seconds
    from rehearsal.evidence import evidence_of  # noqa: PLC0415

    released = Released.of(record.published.document, rehearsal.schema)
    tables = _tables(rehearsal, released.plan, released.bins)
    evidence = evidence_of(released, tables, record.joint, record.desk)
    seconds = {**record.seconds, "total": round(time.monotonic() - began, 2)}
    return Result(
        title=rehearsal.title,
        machine=_machine(),
        record=replace(record, seconds=seconds),
        evidence=evidence,
    )


def _check_tables(rehearsal: Rehearsal, watcher: Watcher) -> None:
    """By the rules of training, before anything is started; a node does the same again.

    Raises:
        ConfigurationError, DataError: naming the partner, the column and what is expected.
    """
    for party in rehearsal.parties:
        found = ingest.check(source_of(rehearsal, party), rehearsal.schema, party.families)
        for reason, count in found.rejects:
            if count:
                watcher.step(f"  {party.id}: {count:,} rows left out: {reason}")


def _tables(rehearsal: Rehearsal, plan: TrainingPlan, bins: Bins) -> dict[str, EncodedTable]:
    """Every partner's table by the partner's own rules. In life nobody has them all."""
    return {
        party.id: ingest.load(
            source_of(rehearsal, party),
            rehearsal.schema,
            bins,
            party.families,
            holdout=(plan.holdout_salt, plan.holdout_fraction),
            persons=True,
        )
        for party in rehearsal.parties
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riskweave rehearse",
        description=(
            "Play a whole consortium on this machine: a coordinator and all partners of a "
            "file as real processes on loopback. Enrols them, trains, evaluates, lets them "
            "vote, stops them and writes a report. examples/own_data/rehearsal.toml explains "
            "the file."
        ),
    )
    parser.add_argument("file", metavar="FILE.toml", type=Path, help="what to rehearse")
    parser.add_argument(
        "--report", metavar="DIR", type=Path, required=True, help="where the report goes"
    )
    parser.add_argument("--epsilon", metavar="E", help="instead of the file's")
    parser.add_argument(
        "--keep", action="store_true", help="keep keys and databases in DIR/work"
    )
    parser.add_argument(
        "--tamper",
        action="store_true",
        help=(
            "at the end alter the coordinator's database while all others run, and show who "
            "refuses and what the audit finds; exit status 4 if anything goes unnoticed"
        ),
    )
    parser.add_argument("--json", action="store_true", help="progress as lines of JSON")
    return parser


def _fresh(report: Path) -> Places:
    """Empty places under the report's directory.

    Raises:
        ConfigurationError: the directory holds something that is no earlier rehearsal.
    """
    if report.exists() and not report.is_dir():
        raise ConfigurationError(f"--report {report}: a file stands there")
    if report.is_dir() and any(report.iterdir()) and not (report / MARK).exists():
        raise ConfigurationError(
            f"--report {report}: not empty and no earlier rehearsal; nothing was changed"
        )
    places = Places(work=report.resolve() / "work", logs=report.resolve() / "logs")
    if (excess := len(os.fsencode(places.coordinator)) - _LONGEST) > 0:
        raise ConfigurationError(f"--report {report}: its full path is {excess} bytes too long")
    try:
        report.mkdir(parents=True, exist_ok=True)
        for name in _OURS:
            path = report / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        (report / MARK).touch()
        places.work.mkdir(mode=0o700)
        places.logs.mkdir()
    except OSError as error:
        raise ConfigurationError(f"--report {report}: {error.strerror}") from error
    return places


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C, so that no process is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


# --- watching ---------------------------------------------------------------------------------


def _watcher(stack: ExitStack, *, as_json: bool) -> Watcher:
    if as_json:
        return _JsonLines()
    return _Bars(stack) if sys.stdout.isatty() else _PlainLines()


class _JsonLines:
    """One JSON object a line."""

    def step(self, text: str) -> None:
        print(json.dumps({"step": text}), flush=True)

    def event(self, event: RunEvent) -> None:
        print(json.dumps(asdict(event)), flush=True)


class _PlainLines:
    """For logs: each step, every tenth of the rounds, everything that went wrong."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def step(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)

    def event(self, event: RunEvent) -> None:
        pace = max(1, event.rounds // 10)
        if event.text or (event.stage == "training" and event.round % pace == 0):
            shown = f"{event.stage} {event.round}/{event.rounds}  {event.text}"
            self.step(f"  {shown.rstrip()}")


class _Bars:
    """For a terminal: a line for each step, a bar for each stage of the run."""

    def __init__(self, stack: ExitStack) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = stack.enter_context(Progress(*columns))
        self._stage = ""
        self._task: TaskID | None = None

    def step(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)

    def event(self, event: RunEvent) -> None:
        if event.text:
            self.step(f"{event.stage} {event.round}/{event.rounds}: {event.text}")
        if event.final or not event.round:
            return
        if event.stage != self._stage or self._task is None:
            self._stage = event.stage
            self._task = self._progress.add_task(f"  {event.stage:<14}", total=event.rounds)
        self._progress.update(self._task, completed=event.round)


# --- the end ----------------------------------------------------------------------------------


def _summary(result: Result) -> Iterator[str]:
    evidence, record = result.evidence, result.record
    privacy = record.published.privacy
    yield ""
    yield f"{'AUC on the own hold-out':<26} {'alone':>8} {'federated':>10} {'pooled':>8}"
    for one in evidence.partners:
        found = (one.local_only.auc, one.federated.auc, one.pooled.auc)
        alone, federated, pooled = (figure_of(auc, 4) for auc in found)
        yield f"  {one.name:<24} {alone:>8} {federated:>10} {pooled:>8}"
    for block in evidence.blocks:
        federated, pooled = figure_of(block.federated.auc, 4), figure_of(block.pooled.auc, 4)
        yield f"  {'block ' + block.name:<24} {'':>8} {federated:>10} {pooled:>8}"
    yield from _joint_lines(result)
    yield from desk_lines(result)
    large, slope = evidence.overall.in_the_large, evidence.overall.slope
    yield f"calibration: in the large {figure_of(large, 3)}, slope {figure_of(slope, 2)}"
    yield (
        f"epsilon for a person {privacy.person}, for a record {privacy.record} "
        f"(delta {privacy.delta}, {privacy.noise_mode} noise); "
        f"model {record.version[:12]} is {record.status}"
    )
    for who, figures in (
        ("person", privacy.person_by_honest),
        ("record", privacy.record_by_honest),
    ):
        yield (
            f"  {who}: {figures.all_honest} if all are honest, {figures.half_collude} if half "
            f"collude, {figures.others_collude} if everyone else colludes, "
            f"{figures.largest} at the most"
        )
    spent = ", ".join(f"{name} {value:.1f}" for name, value in record.seconds.items())
    yield f"seconds: {spent}. Alone and pooled are without noise; only a rehearsal sees them."


def _joint_lines(result: Result) -> Iterator[str]:
    joint, record = result.evidence.joint, result.record.joint
    if joint is None or record is None:
        return
    best = joint.best_source
    yield (
        f"joint score of {joint.persons_both:,} persons of every block: AUC "
        f"{figure_of(joint.joint.auc, 4)}; own block {figure_of(joint.own_block.auc, 4)}; best "
        f"source without privacy ({best.name}) {figure_of(best.auc, 4)}; "
        f"pooled {figure_of(joint.pooled.auc, 4)}"
    )
    bands = ", ".join(
        f"{one.band}: {figure_of(one.quality.in_the_large, 3)}" for one in joint.coverage
    )
    p50, p99 = np.percentile(record.milliseconds, [50, 99]) if record.milliseconds else (0, 0)
    yield (
        f"  all {joint.persons:,}: AUC {figure_of(joint.joint_all.auc, 4)} (own block "
        f"{figure_of(joint.own_block_all.auc, 4)}); E/O by coverage {bands}; "
        f"a score takes {p50:.1f} ms (p99 {p99:.1f})"
    )
    person = all_runs(result.record.budgets)
    yield (
        f"  model and head together: epsilon {person['claimed']:.4f} for a person if half "
        f"collude, {person['others_collude']:.4f} if everyone else does, "
        f"{person['all_honest']:.4f} if all are honest; joint scores carry no noise"
    )


def _machine() -> str:
    system = f"{platform.system()} {platform.machine()}"
    return f"{system}, {os.cpu_count() or 1} cores, Python {platform.python_version()}"
