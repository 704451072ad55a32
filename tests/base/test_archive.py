"""The archive of a project's code: which files are in it, and that equal files give equal bytes anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from glacier_prefect.deployments import archive
from glacier_prefect.deployments.archive import Archive
from glacier_prefect.environments import find_project
from glacier_prefect.errors import ConfigurationError

TOML = """
project = "shop"
[environments.dev]
provider = "local"
base_path = "here/buckets"
[environments.prod]
provider = "aws"
[environments.prod.providers.disk]
provider = "local"
"""


def project(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "glacier.toml").write_text(TOML)
    for name, text in {"flows/daily.py": "A = 1\n", "README.md": "read\n", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def of(folder: Path) -> Archive:
    return Archive(find_project(folder))


def git(folder: Path, *words: str) -> None:
    own = ("-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True)


def test_equal_files_give_the_same_archive_on_another_path_at_another_time(tmp_path: Path) -> None:
    first = of(project(tmp_path / "one"))
    other = project(tmp_path / "far away" / "two")
    os.utime(other / "glacier.toml", (1, 1))
    (other / "README.md").chmod(0o600)
    second = of(other)
    assert (first.hash, first.packed()) == (second.hash, second.packed())
    (other / "README.md").write_text("Read")
    assert of(other).hash != first.hash
    assert of(other).others == first.others, "text for people changes no pipeline"
    (other / "glacier.toml").write_text(TOML + "\n")
    assert of(other).others != first.others
    before = of(other).hash
    (other / "flows/daily.py").chmod(0o755)
    assert of(other).hash != before


def test_in_a_repository_it_is_what_git_tracks_with_the_settings_and_the_lock(tmp_path: Path) -> None:
    folder = project(tmp_path / "shop", **{"gone.py": "", "secret.txt": "x", ".hidden": "h", "uv.lock": "lock\n"})
    inner = project(tmp_path / "library", **{"shared.py": ""})
    git(inner, "init", "--quiet")
    git(inner, "add", "shared.py")
    git(inner, "commit", "--quiet", "-m", "1")
    (folder / ".gitignore").write_text("glacier.toml\nuv.lock\n")
    git(folder, "init", "--quiet")
    git(folder, "submodule", "add", "--quiet", str(inner), "library")
    git(folder, "add", "flows", "gone.py", ".hidden", "README.md")
    (folder / "gone.py").unlink()
    assert set(of(folder).files) == {
        ".gitmodules", ".hidden", "README.md", "flows/daily.py", "glacier.toml", "library/shared.py", "uv.lock",
    }  # fmt: skip


def test_without_git_it_is_all_but_what_is_hidden_made_or_data(tmp_path: Path) -> None:
    left_out = (".env", ".git-ish/x", "flows/__pycache__/a.pyc", "b.pyc", "venv/x.py", "own/x.py", "node_modules/x.js")
    folder = project(
        tmp_path / "shop", **dict.fromkeys([*left_out, "here/buckets/raw/x.csv", "data/raw/y.csv", "here/z.csv"], "x")
    )
    (folder / "own/pyvenv.cfg").write_text("")
    expected = ["README.md", "flows/daily.py", "glacier.toml", "here/z.csv"]
    assert list(of(folder).files) == expected
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("shop\n")
    assert list(of(folder).files) == expected, "a repository around it that does not want it"


def test_too_much_is_refused_with_the_biggest_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LIMIT", 200_000)
    sizes = {f"big-{number}.bin": "x" * number * 20_000 for number in range(1, 7)}
    with pytest.raises(
        ConfigurationError, match=r"have 0\.4 MB, .* at most 0 MB.*'big-6\.bin' \(0\.1 MB\), 'big-5"
    ) as it:
        _ = of(project(tmp_path, **sizes)).tar
    assert "big-1.bin" not in str(it.value)


def test_links_stay_links_inside_and_are_refused_outwards(tmp_path: Path) -> None:
    folder = project(tmp_path / "shop")
    (folder / "flows/again.py").symlink_to("daily.py")
    (tmp_path / "code.tar.gz").write_bytes(of(folder).packed())
    shutil.unpack_archive(tmp_path / "code.tar.gz", tmp_path / "code", filter="data")  # as the pull step does
    assert os.readlink(tmp_path / "code/flows/again.py") == "daily.py"
    assert (tmp_path / "code/flows/again.py").read_text() == "A = 1\n"
    for target in ("/etc/passwd", "../../secret"):
        (folder / "flows/out.py").unlink(missing_ok=True)
        (folder / "flows/out.py").symlink_to(target)
        with pytest.raises(ConfigurationError, match=r"'flows/out.py' is a link to .* outside of the project"):
            _ = of(folder).tar
