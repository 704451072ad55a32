"""The project's files as one archive, named by a hash of what is in it: equal files give the same one on any machine.

Reads files and asks git which they are; writes nothing.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from glacier_prefect.deployments.packages import LOCKS, digest
from glacier_prefect.environments import DEFAULT, FILE, Project
from glacier_prefect.errors import ConfigurationError

LIMIT = 100 * 1024 * 1024  # bytes of all files; what is larger is data, which belongs into a bucket
LEFT_OUT = frozenset({"venv", "node_modules", "__pycache__"})


class Archive:
    """What a run needs of a project: what git tracks, `glacier.toml` and the lock.

    Without git it is all but hidden files and folders, virtual environments, caches, and buckets on the disk.

    Args:
        project: The project.
    """

    def __init__(self, project: Project) -> None:
        self._project, self.folder = project, project.folder.resolve()

    @cached_property
    def files(self) -> dict[str, Path]:
        """The files by their name in the archive, sorted.

        Raises:
            ConfigurationError: Together they are too large.
        """
        names = self._tracked()
        if names is None:
            names = set(_walked(self.folder, self._buckets()))
        names |= {name for name in (FILE, "pyproject.toml", *LOCKS) if (self.folder / name).is_file()}
        found = {name: self.folder / name for name in sorted(names)}
        found = {name: file for name, file in found.items() if file.is_symlink() or file.is_file()}  # some may be gone
        sizes = {name: file.lstat().st_size for name, file in found.items()}
        if (total := sum(sizes.values())) > LIMIT:
            biggest = sorted(sizes, key=lambda name: -sizes[name])[:5]
            listed = ", ".join(f"{name!r} ({sizes[name] / 1e6:.1f} MB)" for name in biggest)
            raise ConfigurationError(
                f"The project's files have {total / 1e6:.1f} MB, and an archive of code at most {LIMIT / 1e6:.0f} MB. "
                f"The biggest are {listed}.\n"
                "Hint: take data out of the repository (git rm --cached), and read it from a bucket."
            )
        return found

    @cached_property
    def tar(self) -> bytes:
        """The files as a tar; its bytes follow from names, contents, and whether a file is a program.

        Raises:
            ConfigurationError: A link leads out of the project.
        """
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, file in self.files.items():
                entry = tarfile.TarInfo(name)  # with no time and no owner
                if file.is_symlink():
                    entry.type, entry.linkname = tarfile.SYMTYPE, self._target(name, file)
                    tar.addfile(entry)
                    continue
                content = file.read_bytes()
                entry.size, entry.mode = len(content), 0o755 if os.access(file, os.X_OK) else 0o644
                tar.addfile(entry, io.BytesIO(content))
        return made.getvalue()

    @cached_property
    def hash(self) -> str:
        """Names the archive. Of the tar, since compressing differs between versions of zlib."""
        return digest(self.tar)[:32]

    @cached_property
    def others(self) -> str:
        """A hash of the files beside Python's, of which nobody knows which pipeline reads them."""
        listed = [
            f"{name} {os.readlink(file) if file.is_symlink() else digest(file.read_bytes())}"
            for name, file in self.files.items()
            if not name.endswith((".py", ".md"))
        ]
        return digest("\n".join(listed).encode())

    def packed(self) -> bytes:
        """Return the archive, compressed."""
        return gzip.compress(self.tar, mtime=0)

    def _target(self, name: str, link: Path) -> str:
        target = os.readlink(link)
        if os.path.isabs(target) or not (link.parent / target).resolve().is_relative_to(self.folder):
            raise ConfigurationError(
                f"{name!r} is a link to {target!r}, outside of the project's folder, which a run does not have.\n"
                "Hint: put the file itself there."
            )
        return target

    def _tracked(self) -> set[str] | None:
        """Return what git tracks in the folder, None if it is not in a repository."""
        if self._git("check-ignore", "--quiet", ".") is not None:  # a folder that the repository around it ignores
            return None
        listed = self._git("ls-files", "-z", "--cached", "--recurse-submodules", "--", ".")
        return None if listed is None else {name for name in listed.split("\0") if name}

    def _git(self, *words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=self.folder, capture_output=True)
        except FileNotFoundError:
            return None
        return os.fsdecode(done.stdout) if done.returncode == 0 else None

    def _buckets(self) -> set[Path]:
        """Return the folders in which environments on the disk have their buckets."""
        environments = dict(self._project.environments)
        environments.setdefault(DEFAULT, self._project.environment(DEFAULT))
        local = [each.settings for each in environments.values() if each.provider == "local"]
        local += [
            settings
            for each in environments.values()
            for settings in each.providers.values()
            if settings["provider"] == "local"
        ]
        return {(self.folder / str(settings.get("base_path", "data"))).resolve() for settings in local}


def _walked(folder: Path, left_out: set[Path], above: str = "") -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        name = above + path.name
        if path.name.startswith(".") or path.name in LEFT_OUT or path in left_out:
            continue
        if path.is_dir() and not path.is_symlink():
            if not (path / "pyvenv.cfg").exists():
                yield from _walked(path, left_out, f"{name}/")
        elif path.suffix != ".pyc":
            yield name
