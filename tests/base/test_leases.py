"""Folders that belong to a process: held while it lives, removed after it, however it ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from glacier_prefect.sources.leases import LOCK, Lease, sweep

HOLD = """
import sys
from pathlib import Path
from glacier_prefect.sources.leases import Lease
lease = Lease.take(Path(sys.argv[1]))
(lease.folder / "data").write_text("x")
(lease.folder / "deep").mkdir()
(lease.folder / "deep" / "data").write_text("x")
print("held", flush=True)
sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_stays_while_its_process_lives_and_goes_after_it_was_killed(tmp_path: Path) -> None:
    process = hold(tmp_path / "a")
    sweep(tmp_path)
    assert (tmp_path / "a/deep/data").exists()
    process.kill()
    process.communicate()
    assert (tmp_path / "a").exists()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_release_removes_the_folder_and_what_is_in_it(tmp_path: Path) -> None:
    lease = Lease.take(tmp_path / "deep/a")
    (lease.folder / "x").mkdir()
    (lease.folder / "x/y").write_text("")
    (lease.folder / "link").symlink_to(tmp_path)
    lease.release()
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_folder_is_taken_once(tmp_path: Path) -> None:
    lease = Lease.take(tmp_path / "a")
    with pytest.raises(FileExistsError):
        Lease.take(tmp_path / "a")
    lease.release()
    Lease.take(tmp_path / "a").release()


def test_a_sweep_leaves_alone_what_nobody_leased(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/kept").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()  # of one who died between making the folder and locking it
    sweep(tmp_path)
    sweep(tmp_path / "absent")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]


def test_a_sweep_that_was_killed_on_its_way_is_finished_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / LOCK).write_text("")  # all but the lock is gone
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "a" / LOCK
    lock.parent.mkdir()
    lock.write_text("")
    lock.chmod(0)
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path)  # a user who is not root cannot look it up from above
    if (root := os.geteuid()) == 0:
        os.seteuid(65534)  # root may open the files of everybody
    try:
        sweep(Path())
    finally:
        os.seteuid(root)
    assert lock.exists()


def test_a_forked_child_does_not_remove_the_folder_of_its_parent(tmp_path: Path) -> None:
    script = HOLD.split("print")[0] + "import os\nif os.fork() == 0:\n    lease.release()\n    os._exit(0)\nos.wait()\n"
    script += "assert (lease.folder / 'data').exists()\n"
    subprocess.run([sys.executable, "-c", script, tmp_path / "a"], check=True)


def test_taking_and_sweeping_at_once_never_removes_a_held_folder(tmp_path: Path) -> None:
    wrong: list[str] = []
    done = threading.Event()

    def take(name: str) -> None:
        for number in range(150):
            lease = Lease.take(tmp_path / f"{name}-{number}")
            (lease.folder / "data").write_text("x")
            if not (lease.folder / LOCK).exists() or not (lease.folder / "data").exists():
                wrong.append(lease.folder.name)
            lease.release()

    def keep_sweeping() -> None:
        while not done.is_set():
            sweep(tmp_path)

    takers = [threading.Thread(target=take, args=(name,)) for name in "ab"]
    sweepers = [threading.Thread(target=keep_sweeping) for _ in range(2)]
    for thread in (*sweepers, *takers):
        thread.start()
    for thread in takers:
        thread.join()
    done.set()
    for thread in sweepers:
        thread.join()
    assert wrong == []
    assert list(tmp_path.iterdir()) == []
