"""Make ``ledger_oracles.json``: heads, cosignatures and proofs by programs of others.

Run it where they are installed; nothing of the product is imported:

    pip install proofbundle==6.3.1 pymerkle==7.0.0
    python tests/vectors/ask_ledger_oracles.py > tests/vectors/ledger_oracles.json

``proofbundle`` implements C2SP signed notes, cosignature/v1 and tlog-proof@v1, and RFC 6962
proofs; ``pymerkle`` builds RFC 9162 trees. With the path of a file that holds ``ours``
(``make_ledger.py`` writes it from the product) it judges our bytes instead.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from proofbundle import checkpoint, merkle, tlogproof
from pymerkle import InmemoryTree

ORIGIN, WITNESS = "riskweave/oracle", "riskweave/oracle/bank-a"
TIME = 1_780_000_000
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 13, 20)


def key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public(name: str) -> bytes:
    return key(name).public_key().public_bytes_raw()


def entries(size: int) -> list[bytes]:
    return [f"entry {number}".encode() for number in range(size)]


def made() -> dict[str, object]:
    """What the others write."""
    trees = []
    for size in SIZES:
        leaves = entries(size)
        tree = InmemoryTree(algorithm="sha256")
        for leaf in leaves:
            tree.append_entry(leaf)
        trees.append(
            {
                "size": size,
                "root": tree.get_root().hex(),
                "inclusion": [
                    [one.hex() for one in merkle.inclusion_proof(leaves, index)]
                    for index in range(size)
                ],
                "consistency": [
                    [one.hex() for one in merkle.consistency_proof(leaves, old)]
                    for old in range(1, size)
                ],
            }
        )
    leaves = entries(13)
    root = merkle.merkle_tree_hash(leaves)
    note = checkpoint.sign_checkpoint(ORIGIN, 13, root, key("log"), ORIGIN)
    cosigned = checkpoint.cosign_checkpoint(note, key("bank-a"), WITNESS, TIME)
    return {
        "source": "proofbundle 6.3.1 and pymerkle 7.0.0, by ask_ledger_oracles.py",
        "trees": trees,
        "log_vkey": checkpoint.vkey(ORIGIN, public("log")),
        "witness_vkey": checkpoint.cosign_vkey(WITNESS, public("bank-a")),
        "checkpoint": note,
        "cosigned": cosigned,
        "time": TIME,
        "proof": tlogproof.format_tlog_proof(5, merkle.inclusion_proof(leaves, 5), cosigned),
    }


def judged(path: str) -> dict[str, object]:
    """What the others say of ours."""
    ours = json.loads(Path(path).read_text(encoding="utf-8"))["ours"]
    verdicts: dict[str, object] = {
        "log": checkpoint.verify_checkpoint(ours["cosigned"], ours["log_vkey"]),
        "witness": checkpoint.verify_cosignature(ours["cosigned"], ours["witness_vkey"]),
        "proof": tlogproof.verify_tlog_proof(
            ours["proof"], base64.b64decode(ours["entry"]), ours["log_vkey"]
        ),
    }
    return verdicts


if __name__ == "__main__":
    answer = judged(sys.argv[1]) if len(sys.argv) > 1 else made()
    json.dump(answer, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")
