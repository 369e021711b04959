"""What the coordinator keeps: its database and the parts of it, one for each subject.

Every public method of a part is one transaction. Rules stand elsewhere: here a row is written
or read, nothing is decided, save that what must happen once (a token, a manifest, a model) is
made sure of by its key.
"""

from coordinator.database import Database
from coordinator.log_storage import LogStore
from coordinator.manifest_storage import ManifestStore
from coordinator.member_storage import MemberStore
from coordinator.model_storage import ModelStore
from coordinator.run_storage import RunStore


class Store(Database):
    """The database behind one URL and its parts; safe to use from any thread."""

    def __init__(self, url: str) -> None:
        """Open the database and create its tables if they are missing.

        Raises:
            StorageError: not reachable, or written by another version of this program.
        """
        super().__init__(url)
        self.log = LogStore(self)
        self.members = MemberStore(self)
        self.manifests = ManifestStore(self, self.log)
        self.runs = RunStore(self, self.log)
        self.models = ModelStore(self, self.log)
