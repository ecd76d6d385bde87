"""Where a local cloud keeps its files, and the record by which it is found again."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from local_cloud.processes import ProcessRecord


@dataclass(frozen=True)
class ServerRecord:
    """A running local cloud."""

    process: ProcessRecord
    """Its process."""
    endpoint: str
    """Where AWS is, e.g. http://127.0.0.1:40000."""
    access_key: str
    """Access key of the account's administrator."""
    secret_key: str
    """Its secret."""


class Layout:
    """The files of a local cloud below one directory (`.local` of a checkout)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.run = self.directory / "cloud"
        """Everything that must not outlive the server."""
        self.log = self.directory / "cloud.log"
        """What the server said; kept while it runs and after it failed."""
        self.env = self.directory / "env"
        """The environment, for shells to source."""
        self.kubeconfig = self.run / "kubeconfig"
        """Every cluster there is, current context the newest."""
        self.state = self.directory / "state"
        """Pulumi's state; not the server's to remove."""
        self._record = self.run / "server.json"

    def read_record(self) -> ServerRecord | None:
        """Return the record of a server, running or dead, None if there is none."""
        try:
            fields = json.loads(self._record.read_text())
        except FileNotFoundError:
            return None
        return ServerRecord(**{**fields, "process": ProcessRecord(**fields["process"])})

    def write_record(self, record: ServerRecord) -> None:
        """Say that the server is ready, at once or not at all."""
        partial = self._record.with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(asdict(record)))
        partial.replace(self._record)

    def remove(self) -> None:
        """Remove what must not outlive the server."""
        shutil.rmtree(self.run, ignore_errors=True)
        self.env.unlink(missing_ok=True)
