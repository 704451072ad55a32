"""Records, journal and lock of deploys, in a folder and in the buckets of the three clouds: one contract for all.

A process of another machine is one that says so: `here` is what it says of itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.deployments.kept import Kept, KeptFolder
from glacier_prefect.deployments.kept_bucket import KeptBucket
from glacier_prefect.deployments.state import Owned, Record, State
from glacier_prefect.errors import (
    BucketNotFoundError,
    ConfigurationError,
    DeployLocked,
    StateLocked,
    StoreDenied,
    UsageError,
)
from glacier_prefect.processes import begun, is_alive, this_process
from glacier_prefect.sources.objects import Objects
from tests.clouds.conftest import Cloud, new_bucket
from tests.clouds.proxy import Fault, Proxy

FOLDER = "acme/prod"
AWAY = Fault(kind="answer", status=503)
DENIED = Fault(kind="answer", status=403, content=b"<Error><Code>AccessDenied</Code></Error>")
LOST = Fault(kind="lose answer")


def record(number: int, name: str = "a/dev") -> Record:
    owned = Owned(kind="deployment", name=name, id=name, fields={"version": str(number)})
    return Record(number=number, deploy=f"deploy-{number}", command="deploy", objects=(owned,))


class Place:
    """A bucket, and what looks at it from several machines."""

    def __init__(self, cloud: Cloud, root: Path, bucket: str | None = None) -> None:
        self.cloud, self.root, self.bucket = cloud, root, bucket or new_bucket(cloud)
        self.said: list[str] = []

    def kept(self, *, seconds: float = 60, through: Cloud | None = None, **process: Any) -> KeptBucket:
        return KeptBucket(
            Objects((through or self.cloud).store(self.bucket), "the bucket"),
            FOLDER,
            state=self.bucket,
            environment="prod",
            root=self.root,
            waiting=self.said.append,
            process={**this_process(), **process},
            seconds=seconds,
        )

    def keys(self) -> set[str]:
        return {meta["path"] for page in self.cloud.store(self.bucket).list() for meta in page}


@pytest.fixture
def place(cloud: Cloud, tmp_path: Path) -> Place:
    return Place(cloud, tmp_path)


@pytest.fixture(params=["folder", "s3", "azure", "gcs"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Kept]:
    """Makes what keeps the same documents again, as the next process does."""
    if request.param == "folder":
        return lambda: KeptFolder(tmp_path / ".glacier" / "dev")
    return Place(request.getfixturevalue(request.param), tmp_path).kept


# --- what every place does


def test_records_journal_and_lock_are_the_same_everywhere(again: Callable[[], Kept]) -> None:
    state = State(again())
    assert (state.numbers(), state.record().number, state.journal.exists()) == ([], 0, False)
    with state.locked(), state.locked():
        for number in (1, 2, 10):
            state.write(record(number))
        with pytest.raises(DeployLocked, match="record 10 already"):
            state.write(record(10, "another/dev"))
        with pytest.raises(DeployLocked, match=rf"process {os.getpid()} .* is deploying this environment\. Nothing"):
            State(again()).kept.locked().__enter__()
        state.journal.begin(deploy="x", deletions=[])
        first = state.journal.intend([("one", {"method": "PATCH"}), ("two", {"method": "DELETE"})])
        state.journal.done(first[0], "id-1")
        state.journal.undone(first[1:])
        assert state.journal.intend([("three", {})]) == [3]
    later = State(again())
    assert (later.numbers(), later.record(), later.record(1)) == ([1, 2, 10], state.record(), state.record(1))
    with pytest.raises(UsageError, match="no record 7: there are 1 to 10"):
        later.record(7)
    assert later.journal.exists(), "it was not ended, so the next deploy goes on with it"
    events = [(each["event"], each.get("number"), each.get("id")) for each in later.journal.entries()]
    assert events == [
        ("begin", None, None),
        ("intend", 1, None),
        ("intend", 2, None),
        ("done", 1, "id-1"),
        ("undone", 2, None),
        ("intend", 3, None),
    ]
    with later.locked():
        later.journal.end()
        assert not later.journal.exists()
        later.forget()
    empty = State(again())
    assert (empty.numbers(), empty.journal.exists()) == ([], False)


def test_what_may_come_late_is_known_for_some_minutes(
    again: Callable[[], Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, late = State(again()), [{"kind": "block", "name": name} for name in ("one", "two")]
    with state.locked():
        state.journal.begin(deploy="killed", deletions=[])
        state.journal.expect(late)
        state.journal.end()
        monkeypatch.setattr("glacier_prefect.deployments.journal.LATE", -1)
        state.journal.expect([{"kind": "block", "name": "long ago"}])
    other = State(again())
    assert not other.journal.exists(), "nothing is left to undo"
    with other.locked():
        assert [each["undo"] for each in other.journal.late()] == late
        other.journal.begin(deploy="next", deletions=[])
        other.journal.intend([("three", {})])
    assert other.journal.exists()
    with other.locked():
        assert [each["event"] for each in other.journal.entries()] == ["begin", "intend"]
        other.journal.end(made={("block", "two"), ("deployment", "one")})
        assert [each["undo"] for each in other.journal.late()] == late[:1]
        other.forget()
    last = State(again())
    assert (last.journal.exists(), last.journal.late()) == (False, [])


def test_nothing_is_left_of_an_environment_that_was_forgotten(place: Place) -> None:
    state = State(place.kept())
    with state.locked():
        state.write(record(1))
    assert place.keys() == {f"{FOLDER}/history/1.json", f"{FOLDER}/deploy.json"}
    with state.locked():
        state.forget()
    assert place.keys() == set()


def test_records_that_were_on_this_machine_come_along_with_the_first_that_is_written(place: Place) -> None:
    before = State(place.root / "dev")
    for number in (1, 2, 3):
        before.write(record(number))
    state = State(place.kept(), before=before.kept)
    assert (state.numbers(), state.record()) == ([1, 2, 3], before.record())
    with state.locked():
        state.write(record(4))
    alone = State(place.kept())
    assert (alone.numbers(), alone.record(2)) == ([1, 2, 3, 4], before.record(2))


# --- the lease


HOLD = """
import json, sys
sys.path[:0] = [{repository!r}]
from pathlib import Path
from glacier_prefect.deployments.state import State
from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.errors import DeployLocked
from tests.clouds.test_kept import Place, record
place = Place({kind}(**{known!r}), Path({root!r}), {bucket!r})
state = State(place.kept(seconds={seconds}, **{process!r}))
try:
    with state.locked():
        state.journal.begin(deploy="killed", deletions=[])
        state.journal.intend([("one", {{"method": "PATCH"}})])
        print("held", flush=True)
        sys.stdin.readline()
        state.journal.intend([("two", {{"method": "PATCH"}})])
        print("went on", flush=True)
except DeployLocked as error:
    print(error, flush=True)
"""


@contextlib.contextmanager
def holding(place: Place, *, seconds: float = 60, **process: Any) -> Iterator[subprocess.Popen[str]]:
    """Hold the lease in a process of its own, which goes on when a line is written to it."""
    text = HOLD.format(
        kind=type(place.cloud).__name__,
        known=vars(place.cloud),
        repository=str(Path(__file__).parents[2]),
        root=str(place.root),
        bucket=place.bucket,
        seconds=seconds,
        process=process,
    )
    with subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as held:
        try:
            assert held.stdout is not None
            assert held.stdout.readline() == "held\n"
            yield held
        finally:
            held.kill()


def test_what_a_killed_process_of_this_machine_held_is_free_at_once_with_its_journal(place: Place) -> None:
    with holding(place) as held:
        with pytest.raises(DeployLocked, match=f"process {held.pid} "):
            place.kept().locked().__enter__()
        held.kill()
        held.wait()
        state = State(place.kept())
        assert state.journal.exists()
        began = time.monotonic()
        with state.locked():
            assert time.monotonic() - began < 20, "its lease would have lasted for a minute"
            assert [each["event"] for each in state.journal.entries()] == ["begin", "intend"]
            assert state.journal.entries()[1]["what"] == "one"
            state.journal.end()
    assert place.said == []


def test_a_lease_of_another_machine_is_taken_over_when_it_was_not_renewed_and_its_holder_stops(place: Place) -> None:
    with holding(place, seconds=3, machine="elsewhere") as held:
        with pytest.raises(DeployLocked, match=f"process {held.pid} .* is deploying this environment"):
            place.kept().locked().__enter__()
        assert "for a sign of life" in place.said[0]
        os.kill(held.pid, signal.SIGSTOP)
        with State(place.kept()).locked():
            os.kill(held.pid, signal.SIGCONT)
            said, _ = held.communicate("\n", timeout=60)
    assert "showed no sign of life for 3 s, and" in said
    assert "took over. This one has stopped" in said
    assert "went on" not in said


def test_a_lease_is_renewed_while_its_holder_works_and_through_a_store_that_is_away_for_a_while(
    place: Place, proxy: Proxy
) -> None:
    kept = place.kept(seconds=2, through=place.cloud.at(proxy.port))
    with kept.locked():
        rule = proxy.fail(AWAY, method="PUT", times=2)
        time.sleep(3)
        assert rule.hits == 2
        kept.check()
        with pytest.raises(DeployLocked):
            place.kept(seconds=2, machine="elsewhere").locked().__enter__()


def test_a_write_whose_answer_was_lost_is_known_again(place: Place, proxy: Proxy) -> None:
    kept = place.kept(through=place.cloud.at(proxy.port))
    with kept.locked():
        rule = proxy.fail(LOST, method="PUT")
        kept.note([{"event": "begin"}], first=True)
        assert rule.hits == 1
        kept.note([{"event": "intend"}])
        proxy.fail(LOST, method="PUT", path="history")
        assert kept.create(1, b"{}")
    assert [each["event"] for each in place.kept().journal()] == ["begin", "intend"]


def test_few_calls_are_made(place: Place, proxy: Proxy) -> None:
    state = State(place.kept(through=place.cloud.at(proxy.port)))
    with state.locked():
        state.journal.begin(deploy="x", deletions=[])
        for number in state.journal.intend([(f"deployment {each}", {}) for each in range(500)]):
            state.kept.check()
            state.journal.done(number, "id")
        state.write(record(1))
        state.journal.end()
    assert proxy.count(method="PUT") == 6, "taking, begin, all intents, the record, end, giving back"


# --- what a killed deploy left locked in Terraform


def locked(who: str, created: datetime) -> StateLocked:
    error = StateLocked("locked")
    error.lock_id, error.who, error.created = "id", who, created
    return error


def test_terraforms_lock_is_taken_away_only_if_it_is_surely_of_a_deploy_that_is_gone(s3: Any, tmp_path: Path) -> None:
    place, here, now = Place(s3, tmp_path), this_process(), datetime.now(UTC)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with holding(place) as held:
        held.kill()
    who, minute = f"{here['user']}@{here['host']}", timedelta(minutes=1, seconds=30)
    (tmp_path / ".terraform").mkdir()
    note = tmp_path / ".terraform" / f"glacier-terraform-{held.pid}"
    kept = place.kept()
    with kept.locked():
        assert not kept.was_left_behind(locked(who, now)), "none of its Terraforms ran"
        for terraform in ("", str(os.getpid())):
            note.write_text(terraform)
            assert not kept.was_left_behind(locked(who, now)), "its Terraform is about to run, or runs"
        note.write_text(str(ended.pid))
        assert not kept.was_left_behind(locked("someone@else", now))
        assert not kept.was_left_behind(locked(who, now - minute)), "from before it"
        assert not kept.was_left_behind(locked(who, now + minute * 2)), "from long after it"
        assert kept.was_left_behind(locked(who, datetime.now(UTC)))
    with kept.locked():
        assert kept.was_left_behind(locked(who, datetime.now(UTC))), "it is known until it is unlocked"
        kept.unlocked()
    with kept.locked():
        assert not kept.was_left_behind(locked(who, datetime.now(UTC)))


def test_a_folder_that_was_cleaned_after_its_job_takes_the_lock_away_unless_something_works_there(
    s3: Any, tmp_path: Path
) -> None:
    root, here = tmp_path / "root", this_process()
    root.mkdir()
    place = Place(s3, root)
    with holding(place) as held:
        held.kill()
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], cwd=root, stdin=subprocess.PIPE)
    root.rmdir()
    kept, who = place.kept(), f"{here['user']}@{here['host']}"
    with kept.locked():
        assert not kept.was_left_behind(locked(who, datetime.now(UTC)))
        sleeper.communicate()
        assert kept.was_left_behind(locked(who, datetime.now(UTC)))


@pytest.mark.parametrize("hosted", [True, False])
def test_of_another_machine_it_is_only_sure_if_that_is_thrown_away_after_its_job(
    s3: Any, tmp_path: Path, hosted: bool
) -> None:
    place, here = Place(s3, tmp_path), this_process()
    with holding(place, seconds=1, machine="elsewhere", hosted=hosted) as held:
        held.kill()
    kept = place.kept()
    with kept.locked():
        seen = datetime.fromisoformat(kept._holding().document["killed"][0]["seen"])
        assert kept.was_left_behind(locked(f"{here['user']}@{here['host']}", seen)) is hosted


def test_a_runner_of_github_says_that_it_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for variables, hosted in (("", False), ("true self-hosted", False), ("true github-hosted", True)):
        for name, value in zip(("GITHUB_ACTIONS", "RUNNER_ENVIRONMENT"), [*variables.split(), "", ""], strict=False):
            monkeypatch.setenv(name, value)
        assert this_process()["hosted"] is hosted


# --- what can be wrong


def test_a_missing_bucket_and_a_denied_one_say_what_to_do(cloud: Cloud, proxy: Proxy, tmp_path: Path) -> None:
    missing = Place(cloud, tmp_path, "missing-bucket-of-state")
    for call in (missing.kept().numbers, missing.kept().locked().__enter__):
        with pytest.raises(
            BucketNotFoundError, match=r"of environment 'prod'(.|\n)*Hint: `glacier bootstrap --env prod`"
        ):
            call()
    place = Place(cloud, tmp_path)
    kept = place.kept(through=cloud.at(proxy.port))
    proxy.fail(DENIED, times=None)
    with pytest.raises(StoreDenied, match=r"below 'acme/prod/' there; `glacier bootstrap --env prod` makes roles"):
        kept.locked().__enter__()
    assert place.keys() == set()


def test_documents_of_a_newer_glacier_are_left_alone(s3: Any, tmp_path: Path) -> None:
    place = Place(s3, tmp_path)
    place.cloud.store(place.bucket).put(f"{FOLDER}/deploy.json", json.dumps({"version": 2}).encode())
    with pytest.raises(ConfigurationError, match="has version 2; this Glacier reads 1"):
        place.kept().locked().__enter__()


@pytest.mark.parametrize("given", ["soon", "0", "-3", "nan"])
def test_how_long_a_lease_lasts_is_a_number_of_seconds(
    s3: Any, tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLACIER_LEASE_SECONDS", given)
    objects = Objects(s3.store("any"), "the bucket")
    with pytest.raises(ConfigurationError, match=f"GLACIER_LEASE_SECONDS is '{given}'; expected a number of seconds"):
        KeptBucket(objects, FOLDER, state="any", environment="prod", root=tmp_path)


def test_a_process_that_has_ended_or_whose_id_is_another_ones_now_is_not_alive() -> None:
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    when = begun(ended.pid)
    assert is_alive(ended.pid, when)
    assert not is_alive(ended.pid, "another")
    ended.kill()
    deadline = time.monotonic() + 10
    while is_alive(ended.pid):  # nobody has waited for it, so its id is not free yet
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ended.communicate()
    assert not is_alive(ended.pid, when)
    assert is_alive(os.getpid(), begun(os.getpid()))
