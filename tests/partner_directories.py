"""Four partners as directories on disk: keys, pinned manifest, table, one accepted run.

What a node's training process reads, and nothing else: no certificate and no coordinator.
The run's noise is drawn from a seed in each database, so a copy of the directories repeats
the run bit for bit.
"""

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

from numpy.random import Generator  # noqa: TID251 - the type of the tests' generator

from consortium.canonical import Label
from consortium.crypto.keys import IdentityKey, Secret
from consortium.documents import document_of
from consortium.features.schema import canonical_bytes, parse_schema
from consortium.ids import PartnerId, RunId, digest_of
from consortium.manifest import Manifest, Member, Policy, Role, manifest_bytes
from consortium.messages import ManifestBundle, PlanOffer, Signed
from consortium.plan import TrainingPlan
from coordinator.plans import PlanContext, parse_plan
from partner_node import joining, training_parts, wiring
from partner_node.keystore import read_bundle
from partner_node.study import NoStudies

FAMILIES = {
    "bank_a": ("repayment",),
    "bank_b": ("repayment",),
    "shop_c": ("billing",),
    "shop_d": ("billing",),
}
ROWS = 3000

SCHEMA = """
name = "directories"
version = 1

[label]
name = "bad"
definition = "late by more than 90 days within 12 months"

[reason.R01]
zh = "近期有未按时还款记录"
en = "Recent payments were not made on time"

[reason.R03]
zh = "已用额度占授信额度的比例较高"
en = "High share of the available limit is in use"

[[feature]]
name = "late"
family = "repayment"
kind = "integer"
unit = "months"
concept = "arrears"
range = [0, 4]
edges = [1, 2, 3]
direction = "up"
reason = "R01"

[[feature]]
name = "used"
family = "billing"
kind = "number"
unit = "share"
concept = "utilisation"
range = [0, 1]
direction = "up"
reason = "R03"
"""

PLAN = """
[plan]
rounds = 3
epsilon = "8"
holdout_salt = "directories"

[[block]]
name = "banks"
families = ["repayment"]
normaliser = 4800

[[block]]
name = "platforms"
families = ["billing"]
normaliser = 4800
"""

_SETTINGS = """
[data]
query = "SELECT * FROM 'table.csv'"
person = "id"
label = "bad"
threads = 1

[budget]
lifetime_epsilon = "8"
run_epsilon = "8"

[speed]
worker_nice = 0
"""


@dataclass(frozen=True)
class Directories:
    """``coordinator`` holds manifest, schema and plan; each partner has a directory."""

    root: Path

    @property
    def coordinator(self) -> Path:
        return self.root / "coordinator"

    @property
    def nodes(self) -> dict[PartnerId, Path]:
        return {PartnerId(name): self.root / name for name in FAMILIES}

    def copied(self, root: Path) -> "Directories":
        """The same parties with the same seeds, somewhere else."""
        shutil.copytree(self.root, root)
        return Directories(root)


def build(root: Path, rng: Generator) -> Directories:
    """Make everything, and let each node accept the run."""
    directories = Directories(root)
    settings = root / "settings.toml"
    directories.coordinator.mkdir(parents=True)
    settings.write_text(_SETTINGS)
    for name, path in directories.nodes.items():
        joining.initialise(path, name, settings)
        _write_table(path / "table.csv", FAMILIES[name], rng)
    schema = parse_schema(SCHEMA, source="schema.toml")
    manifest = Manifest(
        federation="directories",
        version=1,
        previous=None,
        not_before=0,
        schema=schema.digest,
        members=_members(directories),
        policy=Policy(
            min_partners=4,  # so that a run waits for all of them
            max_partners_per_person=2,
            delta="1e-6",
            max_epsilon_per_run="8",
            max_epsilon_lifetime="8",
            model_kinds=("scorecard",),
            code=(),
            vote_quorum=4,
        ),
    )
    context = PlanContext(RunId("5a" * 16), manifest, schema, wiring.code_digest())
    plan = parse_plan(PLAN, context)
    for file, data in (
        ("manifest", manifest_bytes(manifest)),
        ("schema", canonical_bytes(schema.to_canonical())),
        ("plan", document_of(plan)),
    ):
        (directories.coordinator / file).write_bytes(data)
    _pin_and_accept(directories, manifest, plan)
    return directories


def _members(directories: Directories) -> tuple[Member, ...]:
    partners = []
    for index, (name, path) in enumerate(directories.nodes.items(), start=1):
        keys = wiring.open_desk(path).keys
        partners.append(
            Member(
                id=name,
                index=index,
                role=Role.PARTNER,
                identity=keys.identity().public.hex(),
                agreement=keys.agreement().public.hex(),
                witness=keys.witness().public.hex(),
                tls_spki=keys.tls_spki(),
                families=FAMILIES[name],
            )
        )
    operator = Member(
        id=PartnerId("coordinator"),
        index=99,
        role=Role.COORDINATOR,
        identity=IdentityKey.from_secret(Secret(b"C" * 32)).public.hex(),
        agreement="",
        witness="",
        tls_spki=digest_of(b"coordinator"),
        families=(),
    )
    return (*partners, operator)


def _pin_and_accept(directories: Directories, manifest: Manifest, plan: TrainingPlan) -> None:
    desks = {name: wiring.open_desk(path) for name, path in directories.nodes.items()}
    bundle = ManifestBundle(
        body=manifest_bytes(manifest),
        schema=(directories.coordinator / "schema").read_bytes(),
        signatures=tuple(
            Signed(
                digest=manifest.digest,
                member=name,
                signature=desk.keys.identity().sign(
                    Label.MANIFEST_SIGNATURE, bytes.fromhex(manifest.digest)
                ),
            )
            for name, desk in desks.items()
        ),
    )
    for desk in desks.values():
        desk.keys.pin(read_bundle(bundle, manifest.digest))
        sessions = training_parts.Sessions(desk, NoStudies("no stream here"))
        sessions.current().on_offer(PlanOffer(plan=plan))
        sessions._store.close()


def _write_table(path: Path, families: tuple[str, ...], rng: Generator) -> None:
    """Rows whose badness rises with the one feature; a few values are missing."""
    late = families == ("repayment",)
    values = rng.integers(0, 5, ROWS) / 4 if late else rng.random(ROWS)
    bad = rng.random(ROWS) < 0.05 + 0.5 * values
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "bad", "late" if late else "used"))
        for number in range(ROWS):
            value = int(values[number] * 4) if late else f"{values[number]:.6f}"
            writer.writerow(
                (
                    f"{path.parent.name}-{number}",
                    int(bad[number]),
                    "" if number % 50 == 0 else value,
                )
            )
