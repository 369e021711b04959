"""A partner leaves while the others stay (protocol 2.7, 6.8)."""

import pytest

import coordinator.cli
import partner_node.cli
from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError, RevokedError
from consortium.ids import Digest, PartnerId, RunId
from coordinator import commands
from partner_node import joining, scoring_parts, wiring
from partner_node.key_shares import StoredShare
from tests.node_house import DEADLINE_S, POLICY, Federation, Seen

LEAVER = PartnerId("shop_c")
SHARE = StoredShare(epoch=1, attempt=1, position=3, share=Secret(b"s" * 32), record=None)


def kept(node: wiring.Desk) -> int:
    """How many shares a node holds."""
    store = scoring_parts.scoring_store(node, wiring.now)
    try:
        return len(store.shares.of(1))
    finally:
        store.close()


def test_leaver_is_out_at_once_and_others_go_on_under_a_manifest_that_it_does_not_sign(
    federation: Federation, capsys: pytest.CaptureFixture[str]
) -> None:
    home = str(federation.root / "c")
    with federation.serving(logged=True) as hub:
        federation.found("bank_a", "bank_b", "shop_c")
        leaver, stays = federation.nodes["shop_c"], federation.nodes["bank_a"]
        store = scoring_parts.scoring_store(leaver, wiring.now)
        store.shares.seed(1, 1, lambda: Secret(b"e" * 32))
        store.shares.keep(SHARE)
        store.close()
        assert kept(leaver) == 1
        with pytest.raises(ConfigurationError, match="--yes"):
            partner_node.cli.main(["leave", str(leaver.config.directory)])
        assert partner_node.cli.main(["leave", str(leaver.config.directory), "--yes"]) == 0
        assert kept(leaver) == 0
        with leaver.door() as door, pytest.raises(RevokedError):
            door.list_models()
        assert partner_node.cli.main(["leave", str(leaver.config.directory), "--yes"]) == 0
        capsys.readouterr()

        federation.desk.store.runs.add(RunId("ab" * 16), b"plan", Digest("cd" * 32), 1)
        assert coordinator.cli.main(["exit", home, LEAVER]) == 0
        assert "a run is under way" in capsys.readouterr().out
        federation.desk.store.runs.set_status(RunId("ab" * 16), "finished")
        arguments = ["exit", home, LEAVER, "--min-partners", "2", "--vote-quorum", "2"]
        assert coordinator.cli.main(arguments) == 0
        drafted = joining.proposed(stays, None)
        assert LEAVER not in {one.id for one in drafted.manifest.signers()}
        for name in ("bank_a", "bank_b"):
            joining.trust(federation.nodes[name], drafted)
        assert federation.desk.membership.current() == drafted.manifest
        with federation.linked(stays) as seen:
            seen.wait(Seen.both_up)
            assert hub.wait_for(lambda now: now == ("bank_a",), DEADLINE_S)


def test_exit_of_who_was_never_a_member_changes_nothing(federation: Federation) -> None:
    with federation.serving():
        federation.found("bank_a", "bank_b")
        before = federation.desk.membership.bundle(None)
        with pytest.raises(ConfigurationError, match="no member"):
            commands.exit_member(federation.desk, LEAVER, POLICY)
        assert federation.desk.membership.bundle(None) == before
