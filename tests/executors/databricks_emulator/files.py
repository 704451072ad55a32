"""Files of the workspace: volumes, whose uploads need their folder, and what is below `/Workspace`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.executors.databricks_emulator.answers import Refused, invalid

USER = "someone@example.com"


class Files:
    """The files.

    Attributes:
        url: The workspace's address.
        volumes: Folder of this machine with what is below `/Volumes` there.
        workspace: The same for `/Workspace`.
    """

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.volumes, self.workspace = folder / "volumes", folder / "workspace"
        (self.volumes / "main/default/exchange").mkdir(parents=True)
        (self.workspace / "Users" / USER).mkdir(parents=True)
        self._parts: dict[str, dict[int, bytes]] = {}

    def in_volume(self, path: str) -> Path:
        """Return the place of a path below `/Volumes`."""
        parts = path.strip("/").split("/")
        file = self.volumes.joinpath(*parts[1:])
        if ".." in parts or parts[0] != "Volumes" or not self.volumes.joinpath(*parts[1:4]).is_dir() or len(parts) < 4:
            raise Refused(404, "NOT_FOUND", f"Volume '{'.'.join(parts[1:4])}' does not exist.")
        return file

    def put_file(self, path: str, content: bytes, overwrite: bool) -> None:
        file = self.in_volume(path)
        if not file.parent.is_dir():
            raise Refused(404, "NOT_FOUND", f"The parent directory of {path} does not exist.")
        if file.exists() and not overwrite:
            raise Refused(409, "ALREADY_EXISTS", f"The file being created already exists: {path}")
        draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        draft.write_bytes(content)
        draft.replace(file)

    def post_file(self, path: str, query: dict[str, str], body: Callable[[], Any]) -> Any:
        """Begin or complete an upload in parts."""
        if query.get("action") == "initiate-upload":
            self._parts[token := uuid.uuid4().hex] = {}
            return {"multipart_upload": {"session_token": token}}
        parts = self._parts.pop(query["session_token"])
        if [(each["part_number"], each["etag"]) for each in body()["parts"]] != [
            (n, f"etag-{n}") for n in sorted(parts)
        ]:
            raise invalid("The parts are not those that were uploaded.")
        self.put_file(path, b"".join(parts[number] for number in sorted(parts)), overwrite=True)

    def part_urls(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return where parts go without credentials."""
        numbers = range(body["start_part_number"], body["start_part_number"] + body["count"])
        place = f"{self.url}/signed/{body['session_token']}"
        return {
            "upload_part_urls": [{"url": f"{place}/{each}", "part_number": each, "headers": []} for each in numbers]
        }

    def put_part(self, token: str, number: int, content: bytes) -> None:
        self._parts[token][number] = content

    def get_file(self, path: str) -> bytes:
        file = self.in_volume(path)
        if not file.is_file():
            raise Refused(404, "NOT_FOUND", f"The file being accessed is not found: {path}")
        return file.read_bytes()

    def delete_file(self, path: str) -> None:
        self.get_file(path)
        self.in_volume(path).unlink()

    def list_folder(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        folder = self.in_volume(path)
        if not folder.is_dir():
            raise Refused(404, "NOT_FOUND", f"The directory being accessed is not found: {path}")
        names = sorted(file.name for file in folder.iterdir())
        start, size = int(query.get("page_token", 0)), min(int(query.get("page_size", 1000)), 1000)
        entries = []
        for name in names[start : start + size]:
            entry: dict[str, Any] = {"name": name, "path": f"{path.rstrip('/')}/{name}"}
            entry["is_directory"] = (folder / name).is_dir()
            if not entry["is_directory"]:
                entry |= {"file_size": (folder / name).stat().st_size, "last_modified": int(time.time() * 1000)}
            entries.append(entry)
        more = {"next_page_token": str(start + size)} if start + size < len(names) else {}
        return {"contents": entries, **more}

    def delete_folder(self, path: str) -> None:
        try:
            self.in_volume(path).rmdir()
        except FileNotFoundError:
            raise Refused(404, "NOT_FOUND", f"The directory being accessed is not found: {path}") from None
        except OSError:
            raise Refused(400, "DIRECTORY_NOT_EMPTY", f"The directory is not empty: {path}") from None

    # -- below /Workspace ----------------------------------------------------------------------------------------------

    def in_workspace(self, path: str) -> Path:
        return self.workspace / path.removeprefix("/Workspace").lstrip("/")

    def notebook(self, path: str, source: str) -> None:
        """Put a notebook into the workspace."""
        file = self.in_workspace(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# Databricks notebook source\n{source}")

    def import_file(self, fields: dict[str, bytes]) -> None:
        file = self.in_workspace(fields["path"].decode())
        if not file.parent.is_dir():
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", f"The parent folder ({file.parent.name}) does not exist.")
        if file.exists() and fields.get("overwrite") != b"true":
            raise Refused(400, "RESOURCE_ALREADY_EXISTS", f"{fields['path'].decode()} already exists.")
        file.write_bytes(fields["content"])
