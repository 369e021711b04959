"""All artefacts of an audited bundle as files: canonical JSON, and a page in each language."""

from collections.abc import Iterator, Mapping

from consortium.ledger.verify import Audit
from regulator.artefacts.access_log import access_log
from regulator.artefacts.fields import Artefact, document_of_artefact, subject_of
from regulator.artefacts.lineage import fairness, lineage
from regulator.artefacts.model_card import model_card
from regulator.artefacts.notice import notice
from regulator.artefacts.pages import page_of_artefact
from regulator.artefacts.privacy_statement import privacy_statement
from regulator.report import LANGUAGES

_MAKERS = (model_card, privacy_statement, lineage, fairness, notice)
_SHORT = 16


def artefacts_of(audit: Audit) -> Mapping[str, bytes]:
    """The files, name to bytes; none where the audit could not begin."""
    files: dict[str, bytes] = {}
    for artefact in _made(audit):
        name = artefact.kind
        if artefact.subject != audit.pinned:
            name = f"{artefact.kind}.{artefact.subject[:_SHORT]}"
        files[f"{name}.json"] = document_of_artefact(artefact, audit)
        for language in LANGUAGES:
            files[f"{name}.{language}.html"] = page_of_artefact(artefact, audit, language)
    return files


def _made(audit: Audit) -> Iterator[Artefact]:
    if audit.timeline is None:
        return
    for release in audit.releases:
        subject = subject_of(audit, audit.timeline, release)
        yield from (maker(subject) for maker in _MAKERS)
    yield access_log(audit, audit.timeline)
