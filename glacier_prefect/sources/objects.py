"""The objects of one bucket: calls of obstore, and what its errors and Polars' mean.

An error's own text never goes on: it may show a signed address.
"""

from __future__ import annotations

import contextlib
import io
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from glacier_prefect.errors import (
    BucketNotFoundError,
    GlacierError,
    SourceNotFoundError,
    StoreDenied,
    StoreError,
    StoreUnreachable,
    UnreadableError,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")
PART = 64 * 1024 * 1024  # bytes that go in one call; so much of them is in memory for each upload at once
UPLOADS = 3  # parts of one object at once
REPEAT_AFTER = (0.2, 1.0)  # seconds


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a store says of an object.

    Attributes:
        key: Its name in the bucket.
        size: Bytes.
        etag: Changes with the content; without the quotes that some answers put around it.
        modified: When it was written, by the store's clock.
        update: What obstore wants to know to replace just this one.
    """

    key: str
    size: int
    etag: str
    modified: datetime
    update: Any


def _meta(given: Any) -> Meta:
    etag = (given["e_tag"] or given.get("version") or str(given["last_modified"])).strip('"')
    return Meta(
        key=given["path"], size=given["size"], etag=etag, modified=given["last_modified"], update=_update(given)
    )


def _update(given: Any) -> Any:
    return {name: given[name] for name in ("e_tag", "version") if given.get(name) is not None}


@dataclass(frozen=True)
class Objects:
    """The objects of one bucket.

    Attributes:
        store: obstore's store.
        where: Provider and bucket, for messages.
    """

    store: ObjectStore
    where: str

    @contextlib.contextmanager
    def _calling(self, key: str) -> Iterator[None]:
        try:
            yield
        except (SourceNotFoundError, GlacierError):
            raise
        except Exception as error:
            if (meant := explained(error, self.where, key)) is None:
                raise
            raise meant from None

    def head(self, key: str, *, beside: bool = False) -> Meta | None:
        """Return what there is to know of an object; None if it is not there.

        Args:
            key: The object.
            beside: Whether it is none of those that the location's role has to reach; then None if it may not be seen.
        """
        import obstore

        return self._there(key, lambda: _meta(obstore.head(self.store, key)), beside)

    def get(self, key: str, *, beside: bool = False) -> tuple[Meta, bytes] | None:
        """Return an object and what there is to know of it; None if it is not there, or `beside` as in `head`."""
        import obstore

        def ask() -> tuple[Meta, bytes]:
            found = obstore.get(self.store, key)
            return _meta(found.meta), bytes(found.bytes())

        return self._there(key, ask, beside)

    def _there(self, key: str, ask: Callable[[], T], beside: bool) -> T | None:
        with self._calling(key):
            try:
                return ask()
            except FileNotFoundError:
                return None
            except Exception as error:
                if isinstance(explained(error, self.where, key), StoreDenied) and (beside or self._is_hidden(key)):
                    return None
                raise

    def _is_hidden(self, key: str) -> bool:
        """Whether an object that the store denies is not there: S3 denies what is missing to a role that may list some
        prefixes only. It is missing if its folder, which may be listed, does not show it; or if only what begins with
        its name may be listed, as it is with a role for this one object, which may read it too.
        """
        with contextlib.suppress(StoreDenied):
            return key not in (meta.key for meta in self.children(key.rpartition("/")[0])[1])
        with contextlib.suppress(StoreDenied):
            for _ in self.below(key):
                break
            return True
        return False

    def upload(self, key: str) -> Upload:
        """Begin to write an object."""
        import obstore

        writer = obstore.open_writer(self.store, key, buffer_size=PART, max_concurrency=UPLOADS)
        return Upload(writer, lambda: self._calling(key))

    def below(self, folder: str) -> Iterator[Meta]:
        """Yield what is below a folder, in pages of the store; "" is the bucket."""
        import obstore

        with self._calling(folder):
            for page in obstore.list(self.store, folder.rstrip("/") or None):
                yield from map(_meta, page)

    def children(self, folder: str) -> tuple[list[str], list[Meta]]:
        """Return the names of the folders in a folder, and the objects in it."""
        import obstore

        with self._calling(folder):
            found = obstore.list_with_delimiter(self.store, folder.rstrip("/") or None)
        return [each.rstrip("/").rpartition("/")[2] for each in found["common_prefixes"]], [
            _meta(each) for each in found["objects"]
        ]

    def put(self, key: str, content: bytes, *, replaces: Meta | None) -> bool:
        """Write an object in place of just `replaces`, or where none is; False if that is not what is there.

        It may be what this call has written itself, if the store's answer was lost.
        """
        return self.put_over(key, content, replaces and replaces.update) is not None

    def put_over(self, key: str, content: bytes, update: Any) -> Any:
        """Write an object in place of just what `Meta.update` or this said, or where none is if that is None; return
        what replaces it in turn, None if something else is there.

        That may be what this call has written itself, if the store's answer was lost.
        """
        return _again(lambda: self._put(key, content, update))

    def _put(self, key: str, content: bytes, update: Any) -> Any:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._calling(key):
            try:
                made = obstore.put(self.store, key, content, mode="create" if update is None else update)
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError:  # S3, if-match: what was to be replaced is gone
                if update is None:
                    raise
                return None
            return _update(made)

    def write(self, key: str, content: bytes) -> None:
        """Write an object, whatever is there."""
        import obstore

        with self._calling(key):
            obstore.put(self.store, key, content)

    def copy(self, source: Meta, key: str, *, overwrite: bool, limit: int | None) -> bool:
        """Copy an object in one step, in the store; False if something is there and it is not to be overwritten.

        It may be what this call has written itself, if the store's answer was lost.

        Args:
            source: What is copied.
            key: Where to.
            overwrite: Whether it may replace what is there.
            limit: The most bytes that the store copies; more come through this process, a part at a time, and appear
                when the last one is written.
        """
        return _again(lambda: self._copy(source, key, overwrite, limit))

    def _copy(self, source: Meta, key: str, overwrite: bool, limit: int | None) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._calling(key):
            if limit is None or source.size <= limit:
                try:
                    obstore.copy(self.store, source.key, key, overwrite=overwrite)
                except AlreadyExistsError:
                    return False
                return True
            if not overwrite and self.head(key) is not None:
                return False
            upload = self.upload(key)
            for start in range(0, source.size, PART):
                end = min(start + PART, source.size)
                upload.write(obstore.get_range(self.store, source.key, start=start, end=end))
            upload.finish()
            return True

    def same(self, one: Meta, other: Meta) -> bool:
        """Whether two objects have the same content."""
        import obstore

        if one.size != other.size or one.etag == other.etag:
            return one.size == other.size
        with self._calling(other.key):
            for start in range(0, one.size, PART):
                end = min(start + PART, one.size)
                parts = [bytes(obstore.get_range(self.store, each.key, start=start, end=end)) for each in (one, other)]
                if parts[0] != parts[1]:
                    return False
        return True

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        import obstore

        for key in keys:
            with self._calling(key), contextlib.suppress(FileNotFoundError):
                obstore.delete(self.store, key)


class Upload(io.RawIOBase):
    """An object on its way to the store, open for writing: it is there, whole, after `finish`, and never without it."""

    def __init__(self, writer: Any, calling: Callable[[], AbstractContextManager[None]]) -> None:
        self._writer, self._calling = writer, calling

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with self._calling():
            written: int = self._writer.write(data)
        return written

    def finish(self) -> None:
        """Publish what was written."""
        with self._calling():
            self._writer.close()


def _again(call: Callable[[], T]) -> T:
    """Return what a call does, which obstore does not repeat itself, since it may have been carried out."""
    for wait in REPEAT_AFTER:
        try:
            return call()
        except StoreUnreachable:
            time.sleep(wait)
    return call()


_MEANINGS: tuple[tuple[str, type[GlacierError], str], ...] = (
    (r"NoSuchBucket|ContainerNotFound|bucket does not exist", BucketNotFoundError,
     "there is no such bucket.\nHint: make it (`glacier apply`), or correct bucket= or bucket_prefix."),
    (r"ExpiredToken|[Tt]oken (has |is )?expired|InvalidToken|TokenRefreshRequired|ExpiredAuthenticationToken",
     StoreDenied, "the credentials have expired.\nHint: log in again, or renew the token."),
    (r"PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint|configured region|301 Moved",
     StoreError, "the bucket is in another region.\nHint: set the provider's region to the bucket's."),
    (r"InvalidAccessKeyId|SignatureDoesNotMatch|AuthenticationFailed|invalid_grant|\b401\b", StoreDenied,
     "the store does not accept the credentials.\nHint: `glacier doctor` shows which are used."),
    (r"\b403\b|AccessDenied|AuthorizationPermissionMismatch|[Pp]ermission", StoreDenied,
     "the credentials in use may not do this.\nHint: `glacier doctor` shows which are used; grant them this prefix."),
    (r"\b404\b|NoSuchKey|BlobNotFound|No such object|not found", SourceNotFoundError, "the object is not there."),
    (r"\b400\b", StoreDenied, "the store refused the call, as it does when credentials have expired.\n"
     "Hint: log in again, or renew the token."),
    (r"ComputeError (parquet: |ipc )|out.of.spec|^NoDataError|InvalidFooter|assertion `left == right` failed",
     UnreadableError, "the file is damaged, cut short, or of another format.\nHint: name the format with format=."),
    (r"\b(429|5\d\d)\b|SlowDown|ServerBusy|[Rr]etr|error sending|[Cc]onnect|timed out|[Tt]imeout|reset|decoding",
     StoreUnreachable, "the store did not answer, or only with errors, although the call was repeated.\n"
     "Hint: try again later, or correct endpoint_url."),
)  # fmt: skip


def explained(error: BaseException, where: str, key: str) -> GlacierError | None:
    """Return the error of Glacier that an error of obstore or Polars means; None if it is about something else.

    Args:
        error: The error.
        where: Provider and bucket.
        key: The object or folder.
    """
    told = f"{type(error).__name__} {error}"
    foreign = type(error).__module__.partition(".")[0] in ("obstore", "polars", "pyo3_runtime")
    if not foreign and "Error performing" not in told and "object-store" not in told:
        return None
    told = re.sub(r"https?://\S+|\bin [\d.]+\w+|max_retries: \d+|retry_timeout: \w+", "", told).replace(key, "")
    for pattern, kind, meaning in _MEANINGS:
        if re.search(pattern, told):
            code = re.search(r"<Code>(\w+)", told) or re.search(r"status code: (\d+)", told)
            said = meaning.replace(".", f" ({code[1]}).", 1) if code else meaning
            return kind(f"{where}, {key!r}: {said}")
    if "Error performing" in told or type(error).__module__.startswith("obstore"):
        return StoreError(f"{where}, {key!r}: {type(error).__name__}, which Glacier does not know.")
    return None
