"""A bucket as the place of the documents about the deploys of one environment: beside Terraform's state.

    <folder>/history/<n>.json   the records, each written once
    <folder>/deploy.json        who deploys, the journal, and which plan a deploy carries out that was agreed to
    <folder>/clock              written to be told the store's time

The lock is a lease. Who holds it writes `deploy.json` again every few seconds, and in place of just what it wrote last
(if-match). If that has not happened for a while, by the store's clock, or if the holder is known to be gone, another
deploy takes over; the first, should it still live, finds at its next write that the object is not its own any more, and
stops. The journal is in the same object, so nobody can add to it whose lease was taken over, and who takes over has it
as it was last written.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from glacier_prefect.deployments.kept import Entry, Kept
from glacier_prefect.errors import (
    BucketNotFoundError,
    ConfigurationError,
    DeployLocked,
    StateLocked,
    StoreDenied,
    StoreError,
)
from glacier_prefect.processes import is_alive, named, this_process, works_in
from glacier_prefect.sources.objects import Objects
from glacier_prefect.terraform_cli import terraform_of

VERSION = 1
SECONDS = "GLACIER_LEASE_SECONDS"
_SECONDS = 60.0
_RENEWALS = 3  # in the life of a lease, so that one that fails costs nothing
_STEP = 1.0  # seconds between two looks at a lease that may be dead; a store's times are whole seconds
_ANSWER = 5  # times that an object is read whose writing had no clear answer

Document = dict[str, Any]


class KeptBucket(Kept):
    """A folder of a bucket.

    Args:
        objects: The objects of the bucket.
        folder: `<project>/<environment>`.
        state: The environment's `state` setting, for messages.
        environment: Name of the environment, for messages.
        root: Where Terraform runs on this machine.
        waiting: Called with what is waited for.
        process: Who this is.
        seconds: After how long another deploy may take over from one that shows no life (`GLACIER_LEASE_SECONDS`).
    """

    def __init__(
        self,
        objects: Objects,
        folder: str,
        *,
        state: str,
        environment: str,
        root: Path,
        waiting: Callable[[str], object] = lambda message: None,
        process: Mapping[str, Any] | None = None,
        seconds: float | None = None,
    ) -> None:
        self._objects, self._folder, self._state, self._environment = objects, folder, state, environment
        self._root, self._waiting, self._process = root, waiting, process
        self._seconds = _lease_seconds() if seconds is None else seconds
        self._lease = f"{folder}/deploy.json"
        self._clock = f"{folder}/clock"
        self._held: _Held | None = None

    # --- records

    def numbers(self) -> list[int]:
        with self._explaining():
            found = [meta.key.rpartition("/")[2] for meta in self._objects.children(f"{self._folder}/history")[1]]
        return sorted(int(stem) for each in found if (stem := each.removesuffix(".json")).isdecimal())

    def name(self, number: int) -> str:
        return f"{self._record(number)} in {self._state}"

    def read(self, number: int) -> bytes:
        with self._explaining():
            found = self._objects.get(self._record(number))
        if found is None:
            raise FileNotFoundError(f"{self.name(number)} is gone")
        return found[1]

    def create(self, number: int, content: bytes) -> bool:
        self.check()
        with self._explaining():
            if self._objects.put(self._record(number), content, replaces=None):
                return True
            there = self._objects.get(self._record(number))
            return there is not None and there[1] == content  # written by this call, whose first answer was lost

    def forget(self) -> None:
        with self._explaining():
            for number in self.numbers():  # the present one last, lest an older one is taken for it
                self.check()
                self._objects.delete([self._record(number)])

    def _record(self, number: int) -> str:
        return f"{self._folder}/history/{number}.json"

    # --- the journal

    def has_journal(self) -> bool:
        return bool(self.journal())

    def journal(self) -> list[dict[str, Any]]:
        if self._held is not None:
            return list(self._held.document["journal"])
        return list(self._load()[1]["journal"])

    def note(self, entries: Sequence[Entry], *, first: bool = False, urgent: bool = True) -> None:
        held = self._holding()
        with held.mutex:
            held.document["journal"] = [*(() if first else held.document["journal"]), *map(dict, entries)]
            if urgent:
                self._renew(held)

    def end_journal(self) -> None:
        held = self._holding()
        with held.mutex:
            held.document["journal"] = []
            self._renew(held)

    def agreed(self) -> str | None:
        found: str | None = (self._held.document if self._held is not None else self._load()[1]).get("agreed")
        return found

    def agree(self, digest: str | None) -> None:
        held = self._holding()
        with held.mutex:
            before = held.document.pop("agreed", None)
            if digest is not None:
                held.document["agreed"] = digest
                if digest != before:
                    self._renew(held)  # that it is done is told with the next writing

    # --- the lease

    def check(self) -> None:
        held = self._holding()
        if held.taken is not None:
            raise held.taken
        if time.monotonic() > held.until - held.seconds / _RENEWALS:  # renewing did not go well
            self._renew(held)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        held = self._held = self._acquire()
        ended = threading.Event()
        renewing = threading.Thread(target=self._keep_renewing, args=(held, ended), name="glacier-lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            with contextlib.suppress(StoreError, DeployLocked):  # if it cannot be given back, it ends by itself
                self._release(held)
            self._held = None

    def was_left_behind(self, locked: StateLocked) -> bool:
        killed: list[dict[str, Any]] = self._holding().document["killed"]
        for each in killed:
            if locked.who != f"{each['user']}@{each['host']}" or locked.created is None:
                continue
            # by the clock of one machine: the lock is from the time of that deploy
            since, until = datetime.fromisoformat(each["since"]), datetime.fromisoformat(each["seen"])
            if not since <= locked.created <= until + timedelta(seconds=each["seconds"]):
                continue
            if each["machine"] == self._own["machine"]:
                root = Path(each["root"])
                pid = terraform_of(root, each["process"])
                # a folder that is gone was cleaned after its job, with the note in it
                if not is_alive(pid) if pid is not None else not root.exists() and not works_in(root):
                    return True
            elif each["hosted"]:
                return True
        return False

    def unlocked(self) -> None:
        held = self._holding()
        with held.mutex:
            held.document["killed"] = []  # which the next writing tells

    @cached_property
    def _own(self) -> dict[str, Any]:
        known = dict(self._process or this_process())
        return {**known, "token": uuid.uuid4().hex, "root": str(self._root), "seconds": self._seconds}

    def _holding(self) -> _Held:
        if self._held is None:
            raise RuntimeError("only who holds the lock may write")
        return self._held

    def _load(self) -> tuple[Any, Document]:
        """Return what replaces just the present document, and that; None and an empty one if there is none."""
        with self._explaining():
            found = self._objects.get(self._lease)
        if found is None:
            return None, {"version": VERSION, "holder": None, "killed": [], "journal": []}
        document: Document = json.loads(found[1])
        if document["version"] != VERSION:
            raise ConfigurationError(
                f"{self._lease} in {self._state} has version {document['version']}; this Glacier reads {VERSION}.\n"
                "Hint: use the Glacier that deployed last, or a newer one."
            )
        return found[0], document

    def _acquire(self) -> _Held:
        watched: _Watched | None = None
        while True:
            meta, document = self._load()
            holder, killed = document["holder"], document["killed"]
            if holder is not None:
                if watched is not None and watched.etag != meta.etag:
                    raise self._busy(holder)
                watched = watched or self._watch(meta, holder)
                if not watched.is_dead():
                    time.sleep(min(_STEP, holder["seconds"] / 10))
                    continue
                killed = [*killed, holder]
            held = _Held(
                {**document, "killed": killed, "holder": self._own},
                None if meta is None else meta.update,
                self._seconds,
            )
            if self._put(held):
                return held

    def _watch(self, meta: Any, holder: Mapping[str, Any]) -> _Watched:
        """Look at whoever holds the lease.

        Raises:
            DeployLocked: It is a living process of this machine.
        """
        here = holder["machine"] == self._own["machine"]
        if here and is_alive(holder["process"], holder["begun"]):
            raise self._busy(holder)
        if here:
            return _Watched(etag=meta.etag, dead_at=-math.inf)
        with self._explaining():
            self._objects.write(self._clock, b"")
            now = self._objects.head(self._clock)
        assert now is not None
        left = holder["seconds"] + _STEP - (now.modified - meta.modified).total_seconds()
        if left > 0:
            self._waiting(f"Waiting up to {left:.0f} s for a sign of life: {named(holder)} has begun to deploy.")
        return _Watched(etag=meta.etag, dead_at=time.monotonic() + left)

    def _busy(self, holder: Mapping[str, Any]) -> DeployLocked:
        return DeployLocked(
            f"{named(holder)} is deploying this environment. Nothing was done.\n"
            f"Hint: wait until that is finished; what is gone holds it for {holder['seconds']:g} s at most."
        )

    def _put(self, held: _Held) -> bool:
        """Write what is held in place of what this process wrote last; False if that is not there any more."""
        for _ in range(_ANSWER):
            held.document["holder"]["seen"] = datetime.now(UTC).isoformat(" ", "milliseconds")
            began = time.monotonic()
            with self._explaining():
                update = self._objects.put_over(self._lease, json.dumps(held.document).encode(), held.update)
            if update is not None:
                held.update, held.until = update, began + held.seconds
                return True
            meta, there = self._load()
            if (there["holder"] or {}).get("token") != self._own["token"]:
                return False
            held.update = meta.update  # written by this process, but the answer was lost, or it was interrupted
        return False

    def _renew(self, held: _Held) -> None:
        with held.mutex:
            if held.taken is None and not self._put(held):
                holder = self._load()[1]["holder"]
                held.taken = DeployLocked(
                    f"This deploy showed no sign of life for {held.seconds:g} s, and "
                    + (f"{named(holder)} took over." if holder else "another one took over, which has ended.")
                    + " This one has stopped; the other has undone or finished what it began.\n"
                    "Hint: look at `glacier status`, and deploy again if that is needed."
                )
            if held.taken is not None:
                raise held.taken

    def _keep_renewing(self, held: _Held, ended: threading.Event) -> None:
        while not ended.wait(held.seconds / _RENEWALS):
            with contextlib.suppress(StoreError):  # until the store answers again, or the lease has ended
                try:
                    self._renew(held)
                except DeployLocked:
                    return  # the next write raises it

    def _release(self, held: _Held) -> None:
        with held.mutex:
            if held.taken is not None:
                return
            document = held.document
            left = [document["journal"], document["killed"], document.get("agreed")]
            nothing = not any(left) and not self.numbers()
            held.document = {**document, "holder": None}
            with self._explaining():
                given = self._objects.put_over(self._lease, json.dumps(held.document).encode(), held.update)
                if given is not None and nothing:
                    self._objects.delete([self._lease, self._clock])

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """Say of an error of the store what it means for the state."""
        where = f"state = {self._state!r} of environment {self._environment!r}"
        try:
            yield
        except BucketNotFoundError as error:
            raise BucketNotFoundError(
                f"{where}: there is no such bucket, and it is made only once, before the first deploy.\n"
                f"Hint: `glacier bootstrap --env {self._environment}` makes it; or correct `state`."
            ) from error
        except StoreDenied as error:
            raise StoreDenied(
                f"{where}: {str(error).splitlines()[0]}\n"
                f"Hint: deploys read and write below {self._folder + '/'!r} there; "
                f"`glacier bootstrap --env {self._environment}` makes roles that may. `glacier doctor` shows which "
                "credentials are used."
            ) from error


class _Held:
    """A lease that this process holds.

    Attributes:
        document: What it wrote last, or is going to.
        update: What obstore wants to know to replace just that; None to write where nothing is.
        seconds: How long it holds without being renewed.
        until: When another may take over, by this process's own clock.
        mutex: Held while the document is changed or written.
        taken: What is raised once another deploy has taken over.
    """

    def __init__(self, document: Document, update: Any, seconds: float) -> None:
        self.document, self.update, self.seconds, self.until = document, update, seconds, 0.0
        self.mutex = threading.RLock()
        self.taken: DeployLocked | None = None


class _Watched:
    """A lease of someone else who may be gone.

    Attributes:
        etag: Of the document; one that changes was renewed.
        dead_at: When it has ended if it is not renewed, by this process's own clock.
    """

    def __init__(self, *, etag: str, dead_at: float) -> None:
        self.etag, self.dead_at = etag, dead_at

    def is_dead(self) -> bool:
        return time.monotonic() > self.dead_at


def _lease_seconds() -> float:
    given = os.environ.get(SECONDS)
    try:
        seconds = float(given) if given else _SECONDS
    except ValueError:
        seconds = math.nan
    if not seconds >= 1:
        raise ConfigurationError(f"{SECONDS} is {given!r}; expected a number of seconds, 1 or more.")
    return seconds
