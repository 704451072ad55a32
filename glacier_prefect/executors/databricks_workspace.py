"""A Databricks workspace as the executor needs it: runs of jobs, files of volumes, and one file of its own.

Databricks' SDK makes the calls; what it raises becomes Glacier's errors here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from glacier_prefect.credentials.redaction import hidden
from glacier_prefect.errors import RemoteDenied, RemoteFailed, RemoteUnreachable
from glacier_prefect.executors.databricks_credentials import Access
from glacier_prefect.executors.parcel import ENTRY

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

Answer = TypeVar("Answer")
JOBS = "/api/2.2/jobs"
KEPT_DAYS = 7
_connected: dict[Any, Workspace] = {}
_expired: set[str] = set()
_lock = threading.RLock()


def connected(access: Access, where: str) -> Workspace:
    """Return a workspace, with what the process has found of its credentials before.

    Args:
        access: Which.
        where: Who needs it, for messages.

    Raises:
        NotAvailableError: Databricks' SDK, or prefect-databricks, is not installed.
        ConfigurationError: There are no credentials.
    """
    key = access.key()
    with _lock:
        if key not in _connected:
            _connected[key] = Workspace(access.client(where), lambda: access.client(where))
        return _connected[key]


class Workspace:
    """One workspace.

    Attributes:
        client: Databricks' client.
        renewed: Makes another one, with the credentials that are found then.
    """

    def __init__(self, client: WorkspaceClient, renewed: Callable[[], WorkspaceClient]) -> None:
        self.client, self.renewed = client, renewed
        self._entry = ""

    # -- runs ----------------------------------------------------------------------------------------------------------

    def submit(self, body: Mapping[str, Any]) -> str:
        """Submit a run and return its id; the same id for the same idempotency token."""
        return str(self._do("POST", f"{JOBS}/runs/submit", body=body)["run_id"])

    def run_now(self, body: Mapping[str, Any]) -> str:
        """Run a job and return the run's id; the same id for the same idempotency token."""
        return str(self._do("POST", f"{JOBS}/run-now", body=body)["run_id"])

    def run(self, remote: str) -> dict[str, Any] | None:
        """Return a run, None if there is none (any more)."""
        return self._found("GET", f"{JOBS}/runs/get", query={"run_id": remote})

    def output(self, task_run: int) -> dict[str, Any]:
        """Return what the run of one task has put out."""
        return self._found("GET", f"{JOBS}/runs/get-output", query={"run_id": task_run}) or {}

    def cancel(self, remote: str) -> None:
        """Cancel a run."""
        self._found("POST", f"{JOBS}/runs/cancel", body={"run_id": int(remote)})

    def active_runs(self) -> Iterator[dict[str, Any]]:
        """Yield the submitted runs that are not over."""
        query: dict[str, Any] = {"active_only": "true", "run_type": "SUBMIT_RUN", "limit": 25}
        while True:
            page = self._do("GET", f"{JOBS}/runs/list", query=query)
            yield from page.get("runs", ())
            if not page.get("next_page_token"):
                return
            query["page_token"] = page["next_page_token"]

    # -- files ---------------------------------------------------------------------------------------------------------

    def entry(self) -> str:
        """Put `parcel_entry.py` into the user's folder of the workspace, under a name of its content; return where."""
        from databricks.sdk.errors import ResourceAlreadyExists
        from databricks.sdk.service.workspace import ImportFormat

        content = ENTRY.read_bytes()

        def put(client: WorkspaceClient) -> str:
            folder = f"/Workspace/Users/{client.current_user.me().user_name}/.glacier"
            file = f"{folder}/parcel_entry_{hashlib.blake2b(content, digest_size=8).hexdigest()}.py"
            client.workspace.mkdirs(folder)
            with contextlib.suppress(ResourceAlreadyExists):
                client.workspace.upload(file, content, format=ImportFormat.RAW)
            return file

        self._entry = self._entry or self._ask(put)
        return self._entry

    def make_folder(self, folder: str) -> None:
        """Make a folder of a volume, with those above it."""
        self._ask(lambda client: client.files.create_directory(folder))

    def upload(self, path: str, file: Path) -> None:
        """Copy a file into a volume."""

        def put(client: WorkspaceClient) -> None:
            with open(file, "rb") as opened:
                client.files.upload(path, opened, overwrite=True)

        self._ask(put)

    def read(self, path: str) -> bytes | None:
        """Return the content of a file of a volume, None if it is not there."""
        from databricks.sdk.errors import NotFound

        def read(client: WorkspaceClient) -> bytes | None:
            try:
                contents = client.files.download(path).contents
            except NotFound:
                return None
            assert contents is not None
            with contents:
                return contents.read()

        return self._ask(read)

    def download(self, path: str, file: Path) -> None:
        """Copy a file of a volume to this machine."""
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{threading.get_ident()}")

        def copy(client: WorkspaceClient) -> None:
            contents = client.files.download(path).contents
            assert contents is not None
            with contents, open(draft, "wb") as opened:
                shutil.copyfileobj(contents, opened, 1 << 20)

        self._ask(copy)
        os.replace(draft, file)

    def files(self, folder: str) -> list[str]:
        """Return the names of the files in a folder of a volume."""

        def names(client: WorkspaceClient) -> list[str]:
            found = client.files.list_directory_contents(folder)
            return [str(each.name) for each in found if not each.is_directory]

        return self._ask(names)

    def expire(self, folder: str) -> None:
        """Remove the folders of days that are long past, once a process; what cannot be removed stays."""
        with _lock:
            if folder in _expired:
                return
            _expired.add(folder)
        oldest = (date.today() - timedelta(days=KEPT_DAYS)).isoformat()
        with contextlib.suppress(Exception):
            for each in list(self.client.files.list_directory_contents(folder)):
                if each.is_directory and str(each.name) < oldest:
                    self._remove(str(each.path))

    def _remove(self, folder: str) -> None:
        for each in list(self.client.files.list_directory_contents(folder)):
            (self._remove if each.is_directory else self.client.files.delete)(str(each.path))
        self.client.files.delete_directory(folder)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _do(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._ask(lambda client: client.api_client.do(method, path, **options))
        assert isinstance(answer, dict)
        return answer

    def _found(self, method: str, path: str, **options: Any) -> dict[str, Any] | None:
        from databricks.sdk.errors import NotFound

        def found(client: WorkspaceClient) -> Any:
            try:
                return client.api_client.do(method, path, **options)
            except NotFound:
                return None

        answer = self._ask(found)
        assert answer is None or isinstance(answer, dict)
        return answer

    def _ask(self, call: Callable[[WorkspaceClient], Answer]) -> Answer:
        """Call Databricks; once more if it does not take the credentials, since others may be there by now."""
        client = self.client
        try:
            with self._asking(client):
                return call(client)
        except RemoteDenied:
            with _lock:
                if self.client is client:
                    self.client = self.renewed()
        with self._asking(self.client):
            return call(self.client)

    @contextlib.contextmanager
    def _asking(self, client: WorkspaceClient) -> Iterator[None]:
        """Make Glacier's errors of the SDK's."""
        from databricks.sdk import errors
        from databricks.sdk.errors.base import DatabricksError

        away = (errors.TooManyRequests, errors.TemporarilyUnavailable, errors.InternalError, errors.DeadlineExceeded)
        try:
            yield
        except (*away, TimeoutError, ConnectionError) as error:
            raise RemoteUnreachable(hidden(str(error.__cause__ or error))) from None
        except (errors.Unauthenticated, errors.PermissionDenied) as error:
            # What the SDK says of its settings after it names no secret, and helps nobody here.
            said, config = hidden(str(error)).partition(" Config: ")[0].rstrip("."), client.config
            if isinstance(error, errors.Unauthenticated) or "token" in said.lower():
                raise RemoteDenied(
                    f"Databricks at {config.host} does not take the credentials ({config.auth_type}): {said}.\n"
                    "Hint: a token ends; DATABRICKS_CLIENT_ID with DATABRICKS_CLIENT_SECRET is renewed by itself."
                ) from None
            raise RemoteDenied(f"Databricks at {config.host} refused: {said}.") from None
        except DatabricksError as error:
            if type(error) is DatabricksError:  # a gateway's answer, which the SDK has no word for
                raise RemoteUnreachable(hidden(str(error))) from None
            raise RemoteFailed(f"Databricks at {client.config.host} refused: {hidden(str(error))}") from None
        except OSError as error:  # of the SDK's client of HTTP, or of the disk here
            if not type(error).__module__.startswith("requests."):
                raise
            raise RemoteUnreachable(hidden(str(error))) from None
        except ValueError as error:
            if _is_of_token_service(error):
                raise RemoteUnreachable(f"no new token of the service principal: {hidden(str(error))}") from None
            raise


def _is_of_token_service(error: Exception) -> bool:
    """Whether the SDK's client of OAuth raised it, of which all errors are plain ones."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_globals.get("__name__") == "databricks.sdk.oauth"


def _forget() -> None:
    """Begin anew in a forked process, which shares the connections of the one before."""
    global _lock
    _lock = threading.RLock()
    _connected.clear()


os.register_at_fork(after_in_child=_forget)
