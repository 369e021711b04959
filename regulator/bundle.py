"""From a bundle on disk to an audit (protocol 8.7)."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from consortium.errors import ConfigurationError, MessageTooLargeError, TrustError
from consortium.ids import Digest
from consortium.ledger.archive import LARGEST_ARCHIVE, unpack
from consortium.ledger.findings import Check, Findings, Grade
from consortium.ledger.verify import Audit, verify_log
from regulator.replay import ReplayedRun

_LOG = frozenset(
    {
        Check.BUNDLE,
        Check.PINNED,
        Check.MANIFESTS,
        Check.LOG_SIGNATURE,
        Check.COSIGNATURES,
        Check.ROOT,
        Check.ENTRIES,
    }
)
"""Checks of the log itself, whatever it says."""


def read_bundle(path: Path) -> bytes:
    """The bytes of a bundle.

    Raises:
        ConfigurationError: there is no such file.
        MessageTooLargeError: over the limit; nothing of it was read.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_ARCHIVE:
            raise MessageTooLargeError(size, LARGEST_ARCHIVE)
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def audit_bundle(data: bytes, pinned: Digest, *, now: int) -> Audit:
    """Unpack in memory and run every check.

    Args:
        data: The archive.
        pinned: Digest of the manifest that the auditor trusts.
        now: Seconds since 1970.
    """
    findings = Findings()
    files = unpack(data, findings)
    # Signatures are verified outside the interpreter's lock: threads share that work.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        audit = verify_log(files, pinned, now=now, machines=ReplayedRun, mapped=pool.map)
    return replace(audit, findings=(*findings.sorted(), *audit.findings))


def counted_entries(data: bytes, pinned: Digest, *, now: int) -> list[bytes]:
    """The entries of a bundle's log under its newest head that counts.

    Raises:
        TrustError: the log is not what was signed; or no quorum cosigned any head of it.
    """
    audit = audit_bundle(data, pinned, now=now)
    wrong = [one for one in audit.findings if one.grade is Grade.ERROR and one.check in _LOG]
    if wrong or audit.timeline is None or not audit.heads:
        raise TrustError(wrong[0].text if wrong else "no head of the bundle's log counts")
    newest = max(one.checkpoint.size for one in audit.heads)
    return audit.timeline.evidence.entries[:newest]
