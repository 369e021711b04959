"""A few random kills and a short soak: what the benchmarks of that name do at full size."""

from pathlib import Path

import pytest

from bench import bench_crash, bench_soak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def test_nothing_acknowledged_is_lost_and_nobody_unanswered_by_random_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CRASH_KILLS", "10")
    figures = bench_crash.run(tmp_path).figures
    assert figures["kills"] == 10
    assert figures["lost_entries"] == figures["unanswered"] == figures["unexplained"] == 0
    assert figures["answered_otherwise"] == 0
    assert figures["bundle"] == "verified"
    ends = figures["ends"]
    assert isinstance(ends, dict)
    assert figures["follow_from_seeds"] == ends.pop("finished")
    # Three attempts at one sum is all that the claimed epsilon pays for.
    assert all("no attempt is left" in why for why in ends)
    assert (tmp_path / "crash.svg").exists()


def test_memory_of_a_coordinator_and_ten_nodes_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_SOAK_MINUTES", "5")
    monkeypatch.setenv("BENCH_SOAK_NODES", "10")
    figures = bench_soak.run(tmp_path).figures
    assert figures["unanswered"] == 0
    assert set(figures["runs"]) == {"finished"}  # type: ignore[call-overload]
    first, last = figures["rss_mb_first"], figures["rss_mb_last"]
    assert last < 1.3 * first  # type: ignore[operator]
    assert (tmp_path / "soak.svg").exists()
