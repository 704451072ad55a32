"""What is noted of submissions to services, so that a retry, here or on another machine, finds what was left running.

A note lies beside the frames of its run, and in the run's bucket if there is one.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from glacier_prefect.run_context import RunContext

SUFFIX = ".remote.json"


@dataclass(frozen=True, kw_only=True)
class Note:
    """What is noted of the last submission of a node.

    Attributes:
        number: Which submission of the node it is, from 1.
        remote: Id of the remote run; None before it is known.
        over: Whether it is not to be taken up.
        context: The node's place in its run.
    """

    number: int
    remote: str | None
    over: bool = False
    context: RunContext

    @property
    def token(self) -> str:
        """The token of the submission."""
        named = f"{self.context.project}/{self.context.run_id}/{self.context.node}/{self.number}"
        return "glacier-" + hashlib.blake2b(named.encode(), digest_size=16).hexdigest()

    def next(self) -> Note:
        """Return the note of the submission after this one, not yet made."""
        return replace(self, number=self.number + 1, remote=None, over=False)

    def write(self) -> Self:
        """Write the note where a retry looks for it, on this machine and on another; return it."""
        file = Path(self.context.exchange) / self._name
        file.parent.mkdir(parents=True, exist_ok=True)
        noted = {"node": self.context.node, "number": self.number, "remote": self.remote, "over": self.over}
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as draft:
            json.dump(noted, draft)
            draft.flush()
            os.fsync(draft.fileno())
        os.replace(draft.name, file)
        if self.context.shared is not None:
            self.context.shared.put(file)
        return self

    @classmethod
    def all_of(cls, context: RunContext) -> Iterator[Note]:
        """Yield the notes of a run: first those of this machine, then what its bucket has besides."""
        folder, texts = Path(context.exchange), {}
        for file in sorted(folder.glob(f"{context.run_id}-*{SUFFIX}")):
            texts[file.name] = file.read_bytes()
            if found := cls._read(texts[file.name], context):
                yield found
        if context.shared is not None:
            for name in context.shared.names():  # of a run that goes on elsewhere, those of this machine may be old
                if name.startswith(context.run_id) and name.endswith(SUFFIX):
                    text = context.shared.get(name)
                    if text != texts.get(name) and (found := cls._read(text, context)):
                        yield found

    @classmethod
    def last_of(cls, context: RunContext) -> Note:
        """Return the last note of a node; one with number 0, which is over, if it was never submitted."""
        none = cls(number=0, remote=None, over=True, context=context)
        file = Path(context.exchange) / none._name
        texts = [file.read_bytes() if file.exists() else None]
        if context.shared is not None:
            texts.append(context.shared.get(none._name))
        notes = [found for text in texts if (found := cls._read(text, context))]
        return max(notes, key=lambda note: (note.number, note.over, note.remote is not None), default=none)

    @property
    def _name(self) -> str:
        return (
            self.context.token + SUFFIX
        )  # with the run, since a sub-flow's notes lie beside those of the run around it

    @classmethod
    def _read(cls, text: bytes | None, context: RunContext) -> Note | None:
        """Return the note in a text; None if there is none that can be read, as on a disk that was full."""
        try:
            read = json.loads(text or b"")
            node = replace(context, node=read["node"])
            return cls(number=int(read["number"]), remote=read["remote"], over=bool(read["over"]), context=node)
        except (ValueError, KeyError, TypeError):
            return None
