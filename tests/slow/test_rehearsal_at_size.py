"""A rehearsal with two million rows at one partner, and one on a machine without a network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from consortium.features.schema import parse_schema
from rehearsal.cli import _PlainLines
from rehearsal.config_reading import load_rehearsal
from rehearsal.federation import Places
from rehearsal.run import run_federation
from tests.integration.federation import write_rehearsal, write_table

ROOT = Path(__file__).resolve().parents[2]
PEAK_MB = 2048
ROWS = 2_000_000

TRAP = "10.99.0.1"
"""Address of an interface that leads nowhere and takes the default route."""

ISOLATED = f"""
set -e
ip link set lo up
ip link add trap type veth peer name void
for one in trap void; do echo 1 > /proc/sys/net/ipv6/conf/$one/disable_ipv6; done
ip addr add {TRAP}/24 dev trap
ip link set void up
ip link set trap up
ip neigh add 10.99.0.254 lladdr 02:00:00:00:00:01 dev trap
ip route add default via 10.99.0.254
sent() {{ awk '/trap:/ {{ print $11 }}' /proc/net/dev; }}
before=$(sent)
"$@" >&2
echo "$before $(sent)"
"""
"""Runs its arguments in a network of its own; prints packets sent outside before and after."""


LARGE = """
[rehearsal]
schema = "{schema}"
epsilon = "1"
max_partners_per_person = 1

[rehearsal.gate]
most_changes = "0.2"

[plan]
rounds = 30

[[block]]
name = "all"
families = {families}
normaliser = 1600000
"""

PARTY = """
[[partner]]
id = "{name}"
families = {families}
query = "SELECT * FROM '{name}.parquet'"
person = "id"
label = "default"
"""

REPEATED = """
    SELECT '{name}-' || i AS id,
           (hash(i) % 100 < 3 + 12 * (i % 3) + 12 * (i % 5))::INT AS "default",
           i % 3 AS late_30_59, i % 4 AS late_60_89, i % 5 AS late_90,
           (i % 977) / 488.0 AS utilisation, i % 23 AS open_lines, i % 5 AS real_estate_lines,
           i % 9973 * 1.5 AS monthly_income, nullif(i % 7, 0) / 6.0 AS debt_ratio,
           i % 3001 / 3.0 AS debt_amount
    FROM range({rows}) AS numbers(i)"""


@pytest.mark.slow
def test_two_million_rows_at_one_partner_train_under_two_gigabytes(tmp_path: Path) -> None:
    schema = ROOT / "examples" / "gmsc" / "schema.toml"
    families = list(parse_schema(schema.read_text(encoding="utf-8"), source="gmsc").families)
    text = LARGE.format(schema=schema, families=json.dumps(families))
    for name, rows in (("large", ROWS), ("small", 20_000)):
        write_table(tmp_path / f"{name}.parquet", REPEATED.format(name=name, rows=rows))
        text += PARTY.format(name=name, families=json.dumps(families))
    file = tmp_path / "rehearsal.toml"
    file.write_text(text, encoding="utf-8")
    places = Places(work=tmp_path / "work", logs=tmp_path / "logs")
    places.work.mkdir(mode=0o700)
    places.logs.mkdir()
    record = run_federation(load_rehearsal(file), places, _PlainLines())
    print("MiB:", record.peak_rss_mb)  # noqa: T201
    assert record.peak_rss_mb["large"] < PEAK_MB
    assert record.version


@pytest.mark.slow
def test_rehearsal_without_a_network_works_and_tries_to_reach_nobody(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("a network of its own takes root, unshare and ip")
    isolated = [unshare, "-n", "sh", "-c", ISOLATED, "sh"]
    probe = (
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))"
    )
    assert _packets([*isolated, sys.executable, "-c", probe]) == 1, "the trap counts"

    file = write_rehearsal(tmp_path / "in", rounds=10)
    command = [sys.executable, "-m", "riskweave", "rehearse", str(file)]
    assert _packets([*isolated, *command, "--report", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["rounds"] == 10


def _packets(command: list[str]) -> int:
    """Packets that a command sent outside while it ran in its own network."""
    done = subprocess.run(  # noqa: S603 - our own program
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=240
    )
    before, after = map(int, done.stdout.split()[-2:])
    return after - before
