"""Google's XML API in front of fake-gcs-server, which has it for reading only; obstore and Polars write through it.

It stands in for Google's own: it proves that requests are well formed and what becomes of a program when Google answers
by its documentation, not that Google would accept them. Everything else (the JSON API, reads, listings) is passed on.

Run as `python -m glacier_prefect.emulators.gcs_front PORT BEHIND FOLDER`. See https://cloud.google.com/storage/docs/xml-api/overview.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .forward import BLOCK, Forwarder, Server, split_path

JSON_API = ("/storage/v1/", "/upload/", "/download/", "/batch/", "/resumable/", "/_internal/", "/b/", "/o/")
XML = {"Content-Type": "application/xml; charset=UTF-8"}
KEPT = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language")


class Refused(Exception):
    """An answer that is an error of Google's."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Front(Server):
    """The front's server: its folder of parts, and a lock for each object."""

    def __init__(self, port: int, behind: int, folder: Path) -> None:
        super().__init__(port, behind, Request)
        self.uploads = folder
        self.locks: defaultdict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)


class Request(Forwarder):
    """One client's requests of the XML API."""

    server: Front

    def respond(self) -> None:
        try:
            self.answer()
        except Refused as error:
            message = f"<Error><Code>{error.code}</Code><Message>{escape(str(error))}</Message></Error>"
            self.reply(error.status, XML, message.encode())

    def answer(self) -> None:
        if self.path.partition("?")[0] == "/token":
            token = {"access_token": "emulator", "token_type": "Bearer", "expires_in": 3600}
            return self.reply(200, {"Content-Type": "application/json"}, json.dumps(token).encode())
        if self.path.startswith(JSON_API):
            return self.pass_on()
        bucket, key, query = split_path(self.path)
        upload = query.get("uploadId", "")
        match self.command:
            case "POST" if key and "uploads" in query:
                self.begin_upload(bucket, key)
            case "PUT" if key and upload:
                self.add_part(upload, query["partNumber"])
            case "POST" if key and upload:
                self.complete_upload(bucket, key, upload)
            case "DELETE" if key and upload:
                shutil.rmtree(self.upload_folder(upload))
                self.reply(204)
            case "PUT" if key and "x-goog-copy-source" in self.headers:
                self.copy(bucket, key)
            case "PUT" if key:
                length = {"Content-Length": value} if (value := self.headers.get("Content-Length")) else {}
                kept = {name: value for name in KEPT if (value := self.headers.get(name))}
                self.made(self.put(bucket, key, self.body, {**length, **kept}))
            case "DELETE" if key:
                with self.writing(bucket, key):
                    self.json("DELETE", _object(bucket, key))
                self.reply(204)
            case _:
                self.read(bucket, key)

    def pass_on(self) -> None:
        """Hand a request of the JSON API on; where it says an address, it is the one by which the client came here."""
        headers = {name: value for name, value in self.passed_on().items() if name.lower() != "host"}
        with self.ask(self.command, self.path, {"Host": "storage.googleapis.com", **headers}, self.body) as response:
            if location := response.getheader("Location"):
                del response.headers["Location"]
                path = "/" + location.split("/", 3)[3]
                return self.relay(response, {"Location": f"http://{self.headers['Host']}{path}"})
            kind = response.getheader("Content-Type", "")
            if response.status != 200 or not kind.startswith("application/json") or "alt=media" in self.path:
                return self.relay(response)
            content = response.read().replace(
                b"http://storage.googleapis.com/", f"http://{self.headers['Host']}/".encode()
            )
        self.reply(200, {"Content-Type": kind}, content)

    def read(self, bucket: str, key: str) -> None:
        """Objects and listings, which fake-gcs-server knows, but not how Google says that there is none."""
        headers = {name: value for name, value in self.passed_on().items() if name.lower() != "host"}
        with self.ask(self.command, self.path, {"Host": "storage.googleapis.com", **headers}, self.body) as response:
            if response.status in (404, 500):
                self.json("GET", f"/storage/v1/b/{quote(bucket, safe='')}")
                if response.status == 404:
                    raise Refused(404, "NoSuchKey", f"The specified key does not exist: {key}")
            if key or not (after := split_path(self.path)[2].get("start-after")) or response.status != 200:
                return self.relay(response)
            listing = ElementTree.fromstring(response.read())
        for each in listing.findall("{*}Contents"):  # fake-gcs-server begins with the first one all the same
            if each.findtext("{*}Key", "") <= after:
                listing.remove(each)
        self.reply(200, XML, ElementTree.tostring(listing))

    def put(self, bucket: str, key: str, body: Iterable[bytes], headers: Mapping[str, str]) -> dict[str, Any]:
        with self.writing(bucket, key):
            path = f"/upload{_bucket(bucket)}/o?uploadType=media&name={quote(key, safe='')}"
            return self.json("POST", path, headers, body)

    def copy(self, bucket: str, key: str) -> None:
        from_bucket, from_key, _ = split_path(self.headers["x-goog-copy-source"])
        with self.writing(bucket, key):
            path = f"{_object(from_bucket, from_key)}/rewriteTo{_object(bucket, key).removeprefix('/storage/v1')}"
            made = self.json("POST", path, {"Content-Length": "2", "Content-Type": "application/json"}, [b"{}"])
        self.made(made["resource"], b"<CopyObjectResult></CopyObjectResult>")

    def begin_upload(self, bucket: str, key: str) -> None:
        self.json("GET", _bucket(bucket))
        upload = uuid.uuid4().hex
        (self.server.uploads / upload).mkdir()
        kept = {name: value for name in KEPT if (value := self.headers.get(name))}
        (self.server.uploads / upload / "headers.json").write_text(json.dumps(kept))
        tags = f"<Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
        content = f"<InitiateMultipartUploadResult>{tags}</InitiateMultipartUploadResult>"
        self.reply(200, XML, content.encode())

    def add_part(self, upload: str, number: str) -> None:
        folder = self.upload_folder(upload)
        coming, etag = folder / f"{uuid.uuid4().hex}.coming", f'"{uuid.uuid4().hex}"'
        with open(coming, "wb") as file:
            file.writelines(self.body)
        coming.replace(folder / f"{int(number)}.part")  # whole, or not there: a part may be sent again
        (folder / f"{int(number)}.etag").write_text(etag)
        self.reply(200, {"ETag": etag})

    def complete_upload(self, bucket: str, key: str, upload: str) -> None:
        folder = self.upload_folder(upload)
        parts = []
        for part in ElementTree.fromstring(b"".join(self.body)).findall("{*}Part"):
            number, etag = part.findtext("{*}PartNumber"), part.findtext("{*}ETag", "")
            file = folder / f"{number}.part"
            if not file.exists() or file.with_suffix(".etag").read_text().strip('"') != etag.strip('"'):
                raise Refused(400, "InvalidPart", f"Part {number} was not uploaded, or with another ETag")
            parts.append(file)
        if not parts:
            raise Refused(400, "MalformedXML", "A completed upload has at least one part.")
        headers = json.loads((folder / "headers.json").read_text())
        headers["Content-Length"] = str(sum(part.stat().st_size for part in parts))
        made = self.put(bucket, key, _joined(parts), headers)
        shutil.rmtree(folder)
        tags = f"<Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key><ETag>{escape(made['etag'])}</ETag>"
        content = f"<CompleteMultipartUploadResult>{tags}</CompleteMultipartUploadResult>"
        self.made(made, content.encode())

    def upload_folder(self, upload: str) -> Path:
        folder = self.server.uploads / upload
        if not upload.isalnum() or not folder.exists():
            raise Refused(404, "NoSuchUpload", "The requested upload was not found.")
        return folder

    @contextlib.contextmanager
    def writing(self, bucket: str, key: str) -> Iterator[None]:
        """Look at the condition of a write and let no other write come between that and the write itself."""
        with self.server.locks[bucket, key]:
            if expected := self.headers.get("x-goog-if-generation-match"):
                try:
                    generation = self.json("GET", _object(bucket, key))["generation"]
                except Refused as error:
                    if error.code != "NoSuchKey":
                        raise
                    generation = "0"
                if generation != expected:
                    message = "At least one of the pre-conditions you specified did not hold."
                    raise Refused(412, "PreconditionFailed", message)
            yield

    def json(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Iterable[bytes] = ()
    ) -> dict[str, Any]:
        """Call the JSON API of the server behind."""
        with self.ask(method, path, {"Host": "storage.googleapis.com", **(headers or {})}, body) as response:
            content = response.read()
        if response.status == 404:
            bucket = path.partition("/b/")[2].split("/")[0]
            if "/o" in path:
                self.json("GET", f"/storage/v1/b/{bucket}")  # which says so if it is the bucket that is missing
                raise Refused(404, "NoSuchKey", "The specified key does not exist.")
            raise Refused(404, "NoSuchBucket", f"The specified bucket does not exist: {unquote(bucket)}")
        if response.status >= 400:
            raise Refused(response.status, "InternalError", content.decode(errors="replace"))
        found: dict[str, Any] = json.loads(content or b"{}")
        return found

    def made(self, resource: dict[str, Any], content: bytes = b"") -> None:
        """Say that an object is there, by which ETag and generation."""
        headers = {"ETag": f'"{resource["etag"]}"', "x-goog-generation": resource["generation"]}
        self.reply(200, headers | (XML if content else {}), content)


def _bucket(bucket: str) -> str:
    return f"/storage/v1/b/{quote(bucket, safe='')}"


def _object(bucket: str, key: str) -> str:
    return f"{_bucket(bucket)}/o/{quote(key, safe='')}"


def _joined(files: Iterable[Path]) -> Iterator[bytes]:
    for each in files:
        with open(each, "rb") as file:
            while block := file.read(BLOCK):
                yield block


def main() -> None:
    """Serve until SIGTERM."""
    port, behind, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Front(port, behind, folder).serve_forever()


if __name__ == "__main__":
    main()
