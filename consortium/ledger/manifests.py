"""The chain of manifests that ends at the one an auditor trusts (protocol 8.7 (2), (3))."""

from consortium.ids import Digest
from consortium.ledger.evidence import Evidence
from consortium.ledger.findings import Check, Findings
from consortium.manifest import Manifest, verify_manifest


def manifest_chain(
    evidence: Evidence, pinned: Digest, findings: Findings, *, now: int
) -> list[Manifest]:
    """The chain that ends at the pinned manifest, the oldest first (8.7 (2), (3))."""
    chain: list[Manifest] = []
    wanted: Digest | None = pinned
    while wanted is not None:
        found = evidence.manifests.get(wanted)
        if found is None:
            check = Check.PINNED if wanted == pinned else Check.MANIFESTS
            findings.error(check, "manifest.missing", f"no manifest {wanted} in the bundle")
            break
        manifest, signed = found
        place = f"manifests/{wanted}.sigs"
        with findings.catch(Check.MANIFESTS, "manifest.signatures", place=place):
            verify_manifest(manifest, signed, now=now)
        strangers = {one.member for one in signed} - {one.id for one in manifest.signers()}
        if strangers or len({one.member for one in signed}) != len(signed):
            findings.error(
                Check.MANIFESTS,
                "manifest.strangers",
                "signatures of others than its signers, or twice of one",
                place=place,
            )
        if chain and chain[0].version != manifest.version + 1:
            findings.error(
                Check.MANIFESTS,
                "manifest.version",
                f"version {chain[0].version} after {manifest.version}",
            )
        chain.insert(0, manifest)
        wanted = manifest.previous
    for digest in set(evidence.manifests) - {one.digest for one in chain}:
        findings.warn(
            Check.MANIFESTS, "manifest.stray", f"{digest} is not in the pinned one's chain"
        )
    return chain
