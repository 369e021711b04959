"""The coordinator on PostgreSQL: a run whose database goes away in the middle loses nothing."""

from pathlib import Path

import pytest

from coordinator import cli as coordinator_cli
from regulator import cli as regulator_cli
from tests.integration.federation import (
    Federation,
    Run,
    aborted,
    key_of,
    summed,
    write_rehearsal,
)
from tests.postgres_house import PostgresServer

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"


def train_to_the_end(live: Federation, run: Run) -> None:
    end = run.wait_for_end()
    assert end.stage == "finished", run.events[-3:]
    live.wait(lambda: len(live.connected()) == 4, what="all are back", blame="shop_c")


@pytest.mark.slow
def test_run_on_postgres_survives_cut_connections_and_a_restarted_server(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    name = postgres.database()
    file = write_rehearsal(tmp_path, storage=postgres.url(name))
    with Federation.running(tmp_path, file) as live:
        run = live.start_run()
        for number in (3, 9):
            run.wait_for_round(number)
            postgres.sql(CUT.format(name=name))
        run.wait_for_round(15)
        postgres.restart()
        train_to_the_end(live, run)
        end = run.events[-1]
        attempts = live.attempts(end.run)
        rounds = [one.round for one in attempts if one.kind.value == "gradient"]
        assert set(rounds) == set(range(1, live.rehearsal.plan.rounds + 1))
        assert aborted(attempts) == []
        for party in live.rehearsal.parties:
            charged = [key_of(one) for one in live.debits(party.id, end.run)]
            assert len(charged) == len(set(charged))
            assert summed(attempts, party.id) == set(charged)
        live.steps.wait_for_witnesses()
        bundle = tmp_path / "audit.zip"
        assert coordinator_cli.main(["bundle", str(live.places.coordinator), str(bundle)]) == 0
    manifest = live.steps._manifest()
    assert regulator_cli.main(["verify", str(bundle), "--manifest", manifest]) == 0
    assert not (live.places.coordinator / "coordinator.db").exists()
