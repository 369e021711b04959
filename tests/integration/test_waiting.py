"""``riskweave coordinator wait`` ends when what it waits for cannot come."""

import pytest

from consortium.errors import OutOfOrderError, TransportError
from consortium.ids import RunId, digest_of
from consortium.messages import Vote
from coordinator import cli, registry
from coordinator import wiring as operator
from partner_node.acceptance import signed_vote
from tests.gate_house import gate_row
from tests.node_house import Federation

NAMES = ("bank_a", "bank_b", "shop_c")
VERSION = digest_of(b"candidate")


def test_wait_for_a_model_ends_with_the_votes_that_stop_it(federation: Federation) -> None:
    with federation.serving():
        manifest = federation.found(*NAMES)
    home = federation.root / "c"
    words = ["wait", str(home), "--active", "1", "--timeout", "0"]
    store = operator.open_desk(home).store
    store.models.add(
        VERSION, RunId("0" * 32), b"candidate", 1, gate=gate_row(VERSION, passed=True)
    )
    for name in NAMES[:2]:
        with pytest.raises(TransportError, match="0 of 1"):
            cli.main(words)
        node = federation.nodes[name]
        bare = Vote(
            version=VERSION,
            member=node.config.partner,
            accept=False,
            reason="quality",
            number=1,
            signature=b"",
        )
        vote = signed_vote(bare, manifest.digest, node.keys.identity())
        registry.cast_vote(store, manifest, vote, lambda: 2)
    with pytest.raises(OutOfOrderError, match=r"refused by bank_a \(quality\), bank_b"):
        cli.main(words)
