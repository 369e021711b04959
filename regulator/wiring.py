"""The only place of this role that reads the clock."""

import time
from pathlib import Path

from consortium.ids import Digest
from consortium.ledger.verify import Audit
from regulator.bundle import audit_bundle, read_bundle


def audit_file(path: Path, pinned: Digest) -> Audit:
    """Audit the bundle at ``path`` now."""
    return audit_bundle(read_bundle(path), pinned, now=int(time.time()))
