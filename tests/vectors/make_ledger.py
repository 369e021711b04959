"""Make ``ledger.json``: one entry of each type in its fixed bytes (protocol 8.2 to 8.4).

Written from the protocol's text with the ``rfc8785`` package and Ed25519 of ``cryptography``;
nothing of the product is imported.

    python tests/vectors/make_ledger.py > tests/vectors/ledger.json
"""

import base64
import hashlib
import json
import sys

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

RUN, AT = "5a" * 16, 1_780_000_000
ROSTER = ["bank-a", "bank-b", "shop"]


def named(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


REQUEST = {
    "run": RUN,
    "plan": named("plan"),
    "kind": "gradient",
    "round": 3,
    "attempt": 1,
    "roster": ROSTER,
    "inputs": named("inputs"),
    "dimension": 195,
    "scale_bits": 24,
    "variance": "123456789012345678901234567890",
    "head": named("head"),
}
PLAN = {
    "run": RUN,
    "manifest": named("manifest"),
    "schema": named("schema"),
    "code": named("code"),
    "model": "scorecard",
    "hidden": [],
    "algorithm": "sum",
    "bin_source": "public",
    "blocks": [
        {
            "name": "银行",
            "families": ["repayment"],
            "holders": ROSTER,
            "normaliser": 21000,
            "holders_per_person": [2],
        }
    ],
    "clip": "1",
    "rounds": 60,
    "spare_attempts": 6,
    "histogram_attempts": 2,
    "epsilon": "1",
    "delta": "0.000001",
    "max_partners_per_person": 2,
    "noise_mode": "shared",
    "honest_fraction": "0.5",
    "min_partners": 3,
    "shares": {"bins": "0", "training": "0.9", "recalibration": "0.1", "overlap": "0"},
    "optimizer": {
        "kind": "adam",
        "learning_rate": "0.05",
        "beta1": "0.9",
        "beta2": "0.99",
        "tail": "0.5",
    },
    "local": [],
    "holdout_fraction": "0.2",
    "holdout_salt": 'a "quoted" salt\n',
    "base": [],
    "start": "",
    "figure": [],
}
STEP = {"offer": named("offer"), "epoch": 2, "attempt": 1}
KEY = {
    "threshold": 2,
    "group_key": named("P"),
    "transcript": named("transcript"),
    "key": named("key"),
}
BODIES: dict[str, tuple[str, dict[str, object]]] = {
    "manifest.adopted": (
        "bank-a",
        {"manifest": named("manifest"), "version": 1, "signature": "ab" * 64},
    ),
    "identity.revoked": (
        "regulator",
        {
            "member": "shop",
            "identity": named("identity"),
            "reason": "key_lost",
            "effective_at": AT,
        },
    ),
    "plan.proposed": ("coordinator", {"plan": PLAN}),
    "plan.refused": ("shop", {"run": RUN, "plan": named("plan"), "reason": "R12"}),
    "run.commit": (
        "bank-a",
        {
            "run": RUN,
            "plan": named("plan"),
            "seed_commitment": named("seed"),
            "chain_head": named("n0"),
            "training_units": 61_600_000_000,
            "holdout_units": 61_600_000_001,
            "tables_units": 0,
        },
    ),
    "round.join": (
        "bank-a",
        {
            "run": RUN,
            "kind": "gradient",
            "round": 3,
            "attempt": 1,
            "context": named("ctx"),
            "ephemeral": named("E"),
            "count": 4,
            "link": named("n4"),
        },
    ),
    "budget.debit": (
        "bank-a",
        {
            "account": "training",
            "epoch": "2026",
            "run": RUN,
            "kind": "gradient",
            "round": 3,
            "attempt": 1,
            "units": 840_000_000,
            "variance": "123456789012345678901234567890",
            "partners": 3,
        },
    ),
    "round.upload": ("bank-a", {"joined": named("rctx"), "words": named("y")}),
    "round.sum": (
        "coordinator",
        {
            "request": REQUEST,
            "joined": named("rctx"),
            "total": named("S"),
            "uploads": [{"member": name, "words": named(name)} for name in ROSTER],
        },
    ),
    "round.abort": (
        "coordinator",
        {"request": REQUEST, "missing": ["shop"], "reasons": ["R16"], "charged": True},
    ),
    "run.closed": (
        "coordinator",
        {"run": RUN, "outcome": "finished", "attempts": 63, "version": [named("model")]},
    ),
    "release.candidate": (
        "coordinator",
        {"version": named("model"), "run": RUN, "statement": named("statement")},
    ),
    "statement.published": (
        "coordinator",
        {
            "version": named("model"),
            "statement": named("statement"),
            "person": "0.9965",
            "record": "0.6931",
        },
    ),
    "release.vote": (
        "bank-b",
        {
            "version": named("model"),
            "manifest": named("manifest"),
            "accept": False,
            "reason": "calibration",
            "number": AT,
        },
    ),
    "release.served": ("coordinator", {"version": named("model"), "previous": []}),
    "score.batch": ("coordinator", {"second": AT, "root": named("records"), "count": 256}),
    "audit.challenge": (
        "regulator",
        {"run": RUN, "sums": [1, 7, 60], "choice": named("choice")},
    ),
    "audit.result": (
        "regulator",
        {"run": RUN, "verdict": "passed", "report": named("report")},
    ),
    "audit.answer": (
        "bank-a",
        {
            "challenge": named("challenge"),
            "run": RUN,
            "verdict": "passed",
            "report": named("report"),
        },
    ),
    "incident": ("bank-a", {"kind": "fork", "text": named("text")}),
    "release.gate": (
        "coordinator",
        {
            "version": named("version"),
            "passed": False,
            "audit": [named("empirical audit")],
            "checks": [
                {
                    "name": "calibration.slope",
                    "subject": "银行",
                    "value": "0.6100",
                    "low": "0.8000",
                    "high": "1.2000",
                    "at_least": "0.5500",
                    "at_most": "0.6700",
                    "verdict": "failed",
                    "why": "",
                }
            ],
        },
    ),
    "score.retry": (
        "coordinator",
        {
            "request": "0a" * 16,
            "retry_of": "0b" * 16,
            "roster_version": AT * 1000 + 1,
            "earlier_version": AT * 1000,
            "missing": ["shop"],
        },
    ),
    "dkg.commit": ("bank-a", STEP | {"step": named("commit")}),
    "dkg.reveal": ("bank-a", STEP | {"step": named("reveal")}),
    "dkg.complaint": ("bank-b", STEP | {"step": named("complain")}),
    "oprf.epoch": ("bank-a", STEP | KEY),
    "oprf.reshare": ("bank-a", STEP | KEY | {"previous": named("key 1")}),
    "oprf.usage": ("bank-a", {"epoch": 2, "day": 20_000, "points": "1000-9999"}),
    "oprf.fault": ("bank-a", {"epoch": 2, "holder": "shop", "request": "0a" * 16}),
    "consent.batch": (
        "bank-a",
        {
            "day": 20_000,
            "root": named("receipts"),
            "receipts": "100-999",
            "withdrawals": named("withdrawals"),
        },
    ),
    "audit.nonce": ("regulator", {"commitment": named("next"), "opened": [named("nonce")]}),
    "decision.batch": (
        "bank-a",
        {"number": 7, "commitment": named("sealed"), "decisions": "100-999"},
    ),
    "decision.challenge": (
        "regulator",
        {"batch": named("batch"), "places": 32, "choice": named("choice")},
    ),
    "decision.answer": (
        "bank-a",
        {"challenge": named("challenge"), "verdict": "passed", "report": named("report")},
    ),
    "decision.result": (
        "regulator",
        {"challenge": named("challenge"), "verdict": "failed", "report": named("report")},
    ),
    "overlap.planned": (
        "coordinator",
        {
            "plan": {
                "counter": "bank-a",
                "peer": "shop",
                "period": "2026-10",
                "tiers": ["PRIME", "NEAR", "LOW"],
                "cuts": [50_000, 100_000],
                "epoch": 2,
                "epsilon": "1",
                "delta": "0.000001",
            },
            "attempt": 1,
        },
    ),
    "overlap.debit": (
        "bank-a",
        {
            "release": named("overlap"),
            "run": named("question")[:32],
            "attempt": 1,
            "epoch": "default",
            "units": 61_600_000_000,
            "variance": "18715430",
        },
    ),
    "overlap.released": (
        "bank-a",
        {"release": named("overlap"), "attempt": 1, "counts": [1_234_567, 0, 98_765]},
    ),
    "attestation.listed": (
        "bank-a",
        {"number": 4, "listing": named("taken back"), "day": 20_602},
    ),
    "campaign.planned": (
        "coordinator",
        {
            "plan": {
                "name": "spring-26",
                "lenders": ["bank-a", "bank-b"],
                "closed_from": "2025-10-01",
                "closed_to": "2025-12-31",
                "begins": "2026-03-02",
                "percents": [1, 5, 20, 100],
                "holdout_percent": 10,
                "stop": {
                    "fpd30_plan": 30_000,
                    "ratio": 2_000_000,
                    "alpha": 50_000,
                    "beta": 100_000,
                    "least_accounts": 50,
                    "most_accounts": 20_000,
                    "looks": 3,
                    "holdout_margin": 10_000,
                },
                "look_days": 30,
                "epsilon": "1",
                "delta": "0.000001",
                "synthetic": False,
            }
        },
    ),
    "campaign.ordered": (
        "coordinator",
        {
            "order": {
                "campaign": "spring-26",
                "plan": named("campaign plan"),
                "move": "bad",
                "wave": 1,
                "before": named("state"),
                "release": [named("release")],
                "role": "",
                "reason": "",
                "on": "2026-05-31",
            }
        },
    ),
    "register.acted": (
        "coordinator",
        {
            "act": {
                "trigger": "drift",
                "subject": "bank-c",
                "action": "retrain",
                "role": "PE",
                "on": "2026-05-31",
                "due": "2026-06-30",
                "evidence": [named("release")],
            }
        },
    ),
    "register.waived": (
        "coordinator",
        {
            "waiver": {
                "trigger": "partner_share",
                "subject": "bank-a",
                "reason": "committee-12",
                "role": "OP",
                "on": "2026-05-31",
                "expires": "2026-08-29",
            }
        },
    ),
    "charter.proposed": (
        "coordinator",
        {
            "charter": {
                "federation": "north",
                "version": 2,
                "previous": [named("charter 1")],
                "in_force": "2026-06-01",
                "clauses": [
                    {"code": "purpose", "zh": "仅用于信用风险评估", "en": "Credit risk only"}
                ],
                "settlement_ppm": 500_000,
                "exit_notice_days": 90,
                "retrain_days": 30,
            }
        },
    ),
    "charter.agreed": ("bank-a", {"charter": named("charter 2")}),
    "contribution.stated": (
        "coordinator",
        {
            "version": named("version"),
            "statement": named("contribution"),
            "tables": [named("look 1"), named("look 2")],
            "hanging": [named("dependence")],
            "on": "2026-11-01",
        },
    ),
}


def signed(actor: str, entry: dict[str, object]) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(
        hashlib.sha256(f"identity {actor}".encode()).digest()
    )
    signature = key.sign(b"riskweave/entry/v1\n" + rfc8785.dumps(entry))
    return rfc8785.dumps(entry | {"sig": base64.b64encode(signature).decode()})


def main() -> None:
    entries = {}
    for number, (kind, (actor, body)) in enumerate(BODIES.items()):
        entry = {
            "v": 1,
            "type": kind,
            "seq_hint": number,
            "at": AT + number,
            "actor": actor,
            "body": body,
        }
        entries[kind] = signed(actor, entry).decode("utf-8")
    json.dump({"entries": entries}, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
