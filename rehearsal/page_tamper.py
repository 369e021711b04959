"""The page's part on a coordinator whose database was altered (``--tamper``)."""

from collections.abc import Mapping

from rehearsal.results import Result


def tamper_part(result: Result) -> Mapping[str, object]:
    """What was changed, who refused, and what the audits found; None without."""
    record = result.record.tampered
    if record is None:
        return {"tampered": None}
    return {
        "tampered": {
            "verdict": (
                "Every witness refused, no further run was begun, and the audits name every "
                "entry that was changed."
                if record.found
                else "Not all of it was noticed: this is a fault of the program."
            ),
            "alterations": [
                {
                    "changed": one.changed,
                    "bundle": one.bundle.name,
                    "findings": one.findings,
                    "named": f"names entry {one.entry}" if one.named else "does not name it",
                }
                for one in record.alterations
            ],
            "refused": [
                {"name": name, "kind": kind or "did not refuse"}
                for name, kind in record.refused.items()
            ],
            "further_run": record.further_run,
            "page": f"{record.page.parent.name}/{record.page.name}",
        }
    }
