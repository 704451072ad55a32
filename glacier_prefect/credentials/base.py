"""What the credentials of every cloud are: settings that find a secret when it is first needed, and never hold one.

The order is the same on each: the identity of the workload, then an assumed role or a profile, then a Prefect block,
then a secret store, then variables. What was found is kept per process, outside of the objects that travel, and is
logged without its value. No SDK is imported before the first use.
"""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import json
import logging
import math
import os
import threading
import time
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from glacier_prefect.credentials.redaction import hidden, reveal
from glacier_prefect.errors import ConfigurationError, NotAvailableError, StoreDenied

if TYPE_CHECKING:
    from obstore.store import ObjectStore

Values = dict[str, str]
Fetched = tuple[Values, int | None]
"""Secrets by Polars' key names, and when they expire, in epoch seconds."""

EARLY = 60  # seconds before the end at which new ones are fetched, so that no call is under way with old ones
SHORTEST = 12  # letters of a key that is masked in logs; words that emulators take for keys are left alone
METADATA_TIMEOUT = 2  # seconds; where there is a metadata address it answers in milliseconds

log = logging.getLogger("prefect.glacier.credentials")  # below "prefect", whose loggers are shown in a run
_found: dict[tuple[Credentials, int], Found] = {}
_stores: dict[tuple[Credentials, int, str, str], ObjectStore] = {}
_lock = threading.RLock()


@dataclass(frozen=True, kw_only=True)
class Used:
    """Which source of credentials is in use.

    Attributes:
        source: What it is, as in "profile 'prod'".
        expires: When the present ones end; None if they do not.
    """

    source: str
    expires: datetime | None = None

    def __str__(self) -> str:
        return self.source + (f", until {self.expires:%Y-%m-%d %H:%M:%S} UTC" if self.expires else "")


@dataclass(kw_only=True)
class Found:
    """A source of credentials that has some.

    Attributes:
        source: What it is, for people; never a value.
        fetch: Returns the present ones.
        credential: The SDK's own object, for services other than storage; None if it is only keys.
    """

    source: str
    fetch: Callable[[], Fetched] = field(repr=False)
    credential: Any = field(default=None, repr=False)
    _latest: Fetched = field(default=({}, 0), repr=False)
    _again: float = field(default=0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def _fetched(self) -> Fetched:
        try:
            return self.fetch()
        except Exception as error:  # each SDK has errors of its own, and all mean this
            text = hidden(str(error)).strip() or type(error).__name__
            raise StoreDenied(
                f"Credentials from {self.source} cannot be had: {text}\n"
                "Hint: log in again, or correct the role, the key or the variable that they come from."
            ) from None

    def latest(self) -> tuple[Values, int | None, int | None]:
        """Return credentials, when they end, and when to ask again: before they do, in epoch seconds."""
        with self._lock:
            if time.time() >= self._again:
                self._latest = self._fetched()
                for value in self._latest[0].values():
                    reveal(value, shortest=SHORTEST)
                expires, now = self._latest[1], time.time()
                # of credentials that live for seconds only a part is kept back
                self._again = math.inf if expires is None else expires - min(EARLY, max(0, expires - now) / 3)
            values, expires = self._latest
            return values, expires, None if expires is None else math.ceil(self._again)


@dataclass(frozen=True, kw_only=True)
class Credentials(ABC):
    """Finds credentials of a cloud when they are first used; equal, hashed and pickled by its settings only.

    Attributes:
        endpoint_url: Address of a compatible store; None for the cloud's own.
        credentials_block: Name of a Prefect credentials block.
        credentials_secret: Name in the environment's secret store of a JSON object with the keys.
    """

    extra: ClassVar[str]
    sdk: ClassVar[str]
    title: ClassVar[str]
    block: ClassVar[str]
    expected: ClassVar[str]
    """What a JSON object of credentials has in it, for messages."""
    hint: ClassVar[str]
    variables: ClassVar[tuple[str, ...]]
    """All that may decide what is found: where one changes, it is looked for again."""

    endpoint_url: str | None = None
    credentials_block: str | None = None
    credentials_secret: str | None = None

    def storage_options(self) -> dict[str, str]:
        """Return what Polars has to know of the store, without secrets.

        Fetches credentials first: where there are none the error is ours, not one of Polars' wrapped around it.

        Raises:
            ConfigurationError: No credentials are found.
            StoreDenied: Those that are found cannot be used.
            NotAvailableError: The cloud's extra is not installed.
        """
        self._source().latest()
        return self._options()

    def __call__(self) -> Fetched:
        """Return secrets by Polars' key names and when to ask again, in epoch seconds; None for never."""
        values, _, again = self._source().latest()
        return dict(values), again

    def used(self) -> Used:
        """Return which source of credentials is in use and until when.

        Raises:
            ConfigurationError: None is found.
            NotAvailableError: The cloud's extra is not installed.
        """
        found = self._source()
        _, expires, _ = found.latest()
        return Used(source=found.source, expires=None if expires is None else datetime.fromtimestamp(expires, UTC))

    def store(self, bucket: str, within: str = "") -> ObjectStore:
        """Return obstore's store of a bucket, which asks for new credentials by itself.

        Args:
            bucket: Name of the bucket in the cloud.
            within: Folder of it that stands for the bucket.
        """
        required("obstore", self.extra)
        key = (self, id(self._source()), bucket, within)  # what is found is kept, so its id is nobody else's
        with _lock:
            if key not in _stores:
                _stores[key] = self._store(bucket, within or None)
            return _stores[key]

    @abstractmethod
    def _options(self) -> dict[str, str]:
        """Return `storage_options` of Polars, without secrets."""

    @abstractmethod
    def _store(self, bucket: str, prefix: str | None) -> ObjectStore:
        """Make obstore's store of a bucket, or of what begins with a prefix there."""

    @abstractmethod
    def _workload(self) -> Iterator[Found | None]:
        """Look for an identity of the machine, container or job; where nothing speaks for one, nobody is asked."""

    @abstractmethod
    def _profile(self) -> Iterator[Found | None]:
        """Look for an assumed role or a named profile."""

    @abstractmethod
    def _block(self, block: Any) -> Found | None:
        """Take credentials from a Prefect block."""

    @abstractmethod
    def _keys(self, values: Mapping[str, str], source: str) -> Found | None:
        """Take credentials from keys of a JSON object; None if those that are needed are not in it."""

    @abstractmethod
    def _variables(self) -> Iterator[Found | None]:
        """Look for keys in variables, then for what the cloud's command line has left."""

    def _sources(self) -> Iterator[Found | None]:
        yield from self._workload()
        yield from self._profile()
        if self.credentials_block:
            yield self._from_block(self.credentials_block)
        if self.credentials_secret:
            yield self._from_secret(self.credentials_secret)
        yield from self._variables()

    @property
    def _is_emulator(self) -> bool:
        """Whether the store is on this machine, which no identity of this machine is for."""
        return is_local(self.endpoint_url)

    def _client_options(self) -> Any:
        """Return obstore's options of HTTP."""
        return {"allow_http": bool(self.endpoint_url and self.endpoint_url.startswith("http:"))}

    def _from_block(self, name: str) -> Found:
        module, _, kind = self.block.partition(":")
        found = self._block(getattr(required(module, self.extra), kind).load(name))
        if found is None:
            raise ConfigurationError(f"The Prefect block {name!r} ({kind}) has no credentials in it.")
        return found

    def _from_secret(self, name: str) -> Found:
        from glacier_prefect.credentials.secrets import Secret

        try:
            values = json.loads(Secret(name).read(anywhere=True))
        except ValueError:
            values = None
        where = f"secret {name!r}"
        found = self._keys(values, where) if isinstance(values, dict) else None
        if found is None:
            raise ConfigurationError(f"The {where} is no JSON object with {self.expected}.")
        return found

    def _source(self) -> Found:
        key = (self, hash(tuple(os.environ.get(name) for name in self.variables)))
        with _lock:
            if key not in _found:
                required(self.sdk, self.extra)
                found = next((each for each in self._sources() if each is not None), None)
                if found is None:
                    raise ConfigurationError(f"No credentials of {self.title} were found.\nHint: {self.hint}")
                _found[key] = found
                log.info("%s: credentials from %s", self.title, found.source)
            return _found[key]


def required(module: str, extra: str) -> Any:
    """Import and return a module of an extra.

    Args:
        module: Its name.
        extra: The extra that brings it.

    Raises:
        NotAvailableError: It is not installed; says which extra to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise
        raise _missing(module, extra) from None


def check_installed(module: str, extra: str) -> None:
    """Make sure that a module of an extra is there, without importing it: those of the clouds take seconds.

    Raises:
        NotAvailableError: It is not installed; says which extra to install.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise _missing(module, extra)


def _missing(module: str, extra: str) -> NotAvailableError:
    return NotAvailableError(
        f"{module} is not installed, which Glacier needs for {extra!r}.\nHint: pip install 'glacier-prefect[{extra}]'"
    )


def is_local(url: str | None) -> bool:
    """Whether an address is on this machine, as that of an emulator is."""
    host = urllib.parse.urlsplit(url or "").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def vendor() -> str:
    """Return who made this machine by its firmware, as in "Amazon EC2"; empty if it does not say."""
    found = []
    for name in ("sys_vendor", "product_name", "chassis_asset_tag"):
        with contextlib.suppress(OSError):
            found.append(Path("/sys/class/dmi/id", name).read_text().strip())
    return " ".join(found)


def _forget() -> None:
    """Begin anew in a forked process, which has neither the threads of a store nor who holds a lock."""
    global _lock
    _lock = threading.RLock()
    _found.clear()
    _stores.clear()


os.register_at_fork(after_in_child=_forget)
