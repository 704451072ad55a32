"""What `RemoteExecutor` does around the calls of a service: notes, taking up, patience, deadline, stopping."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from glacier_prefect import pipeline, run_context, task
from glacier_prefect.credentials import redaction
from glacier_prefect.errors import CheckError, OptionError, RemoteDenied, RemoteFailed, RemoteUnreachable
from glacier_prefect.executors import Body, FolderPlace, RemoteExecutor, RemoteState, Work, parcel, parcel_entry, remote
from glacier_prefect.executors.notes import Note
from glacier_prefect.providers import AWSProvider
from glacier_prefect.run_context import RunContext
from glacier_prefect.sources.cloud import CloudLocation
from glacier_prefect.sources.shared import Shared

RUN = "0b3f8a52-0000-4000-8000-000000000001"


@dataclass(kw_only=True)
class Service:
    """A service in memory.

    Attributes:
        runs: State of each run by its id.
        tokens: The id of the run that was submitted under a token.
        cancelled: Ids of the runs that were cancelled, in order.
        meddle: Called with the name of each call and its argument, before it is done.
        answered: The same after it is done, before the caller gets its answer.
    """

    runs: dict[str, RemoteState] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    meddle: Callable[[str, Any], None] = lambda call, argument: None
    answered: Callable[[str, Any], None] = lambda call, argument: None
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, kw_only=True)
class MemoryExecutor(RemoteExecutor):
    name: ClassVar[str] = "memory"
    service: Service = field(default_factory=Service)
    poll_seconds: float = 0.05

    def submit(self, work: Work) -> str:
        self.service.meddle("submit", work)
        with self.service.lock:
            new = f"run-{len(self.service.tokens) + 1}"
            made = self.service.tokens.setdefault(work.token, new)
            self.service.runs.setdefault(made, RemoteState(kind="succeeded"))
        self.service.answered("submit", made)
        return made

    def find(self, token: str) -> str | None:
        self.service.meddle("find", token)
        return self.service.tokens.get(token)

    def look(self, remote: str) -> RemoteState:
        self.service.meddle("look", remote)
        return self.service.runs.get(remote, RemoteState(kind="gone"))

    def fetch(self, remote: str, work: Work) -> Any:
        self.service.meddle("fetch", remote)
        return f"value of {remote}"

    def cancel(self, remote: str) -> None:
        self.service.meddle("cancel", remote)
        self.service.cancelled.append(remote)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(run_id=RUN, node="work", project="shop", exchange=str(tmp_path / "exchange" / RUN))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr(remote, "CANCEL_WAITS", (0.0, 0.02, 0.02))


def attempt(
    service: Service,
    context: RunContext,
    *,
    timeout: float | None = None,
    finish: Callable[[Any], Any] = lambda value: value,
    **settings: Any,
) -> Any:
    """Run a body as a process does that knows of earlier ones by the notes only."""
    with run_context.entered(context):
        return MemoryExecutor(service=service, **settings).run(Body(function=abs, timeout=timeout, finish=finish))


def failing(
    *calls: str, error: Callable[[], Exception] = lambda: RemoteUnreachable("503")
) -> Callable[[str, Any], None]:
    """Return what lets a service fail in some calls."""

    def meddle(call: str, _: Any) -> None:
        if call in calls:
            raise error()

    return meddle


# -- taking up ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("succeeded", "value of run-1"),
        ("failed", "value of run-2"),
        ("cancelled", "value of run-2"),
        ("gone", "value of run-2"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_retry_takes_what_is_there_and_submits_anew_what_ended_without_success(
    service: Service, context: RunContext, kind: Any, value: str, known: bool
) -> None:
    first = Note(number=1, remote="run-1" if known else None, context=context)
    first.write()
    service.tokens[first.token], service.runs["run-1"] = "run-1", RemoteState(kind=kind)
    assert attempt(service, context) == value
    assert len(service.tokens) == (1 if value == "value of run-1" else 2)


def test_a_retry_follows_a_run_that_still_goes_on(service: Service, context: RunContext) -> None:
    note = Note(number=1, remote="run-1", context=context).write()
    service.tokens[note.token], service.runs["run-1"] = "run-1", RemoteState(kind="running")
    looks: list[str] = []

    def meddle(call: str, _: Any) -> None:
        looks.append(call)
        if len(looks) == 4:
            service.runs["run-1"] = RemoteState(kind="succeeded")

    service.meddle = meddle
    assert attempt(service, context) == "value of run-1"
    assert "submit" not in looks


def test_what_never_arrived_is_submitted_under_the_same_token(service: Service, context: RunContext) -> None:
    note = Note(number=1, remote=None, context=context).write()
    attempt(service, context)
    assert list(service.tokens) == [note.token]


def test_a_run_that_failed_while_nobody_knew_of_it_is_not_the_failure_of_the_retry(
    service: Service, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryExecutor, "find", lambda self, token: None)  # as of a service that lists live runs
    note = Note(number=1, remote=None, context=context).write()
    service.tokens[note.token], service.runs["run-1"] = "run-1", RemoteState(kind="failed")
    assert attempt(service, context) == "value of run-2"
    assert list(service.tokens) == [note.token, note.next().token]


def test_what_fails_at_once_is_submitted_once(service: Service, context: RunContext) -> None:
    service.answered = lambda call, made: service.runs.update({made: RemoteState(kind="failed")})
    for number in (1, 2):
        with pytest.raises(RemoteFailed, match=f"Run run-{number} "):
            attempt(service, context)
    service.runs["run-2"] = RemoteState(kind="succeeded")
    service.meddle = failing("fetch", error=lambda: CheckError("no"))
    with pytest.raises(CheckError):
        attempt(service, context)
    service.meddle = failing()
    with pytest.raises(RemoteFailed, match="Run run-3 "):  # though a note says that run-2 is not to be taken up
        attempt(service, context)


def test_tokens_are_of_the_run_the_node_its_item_and_the_number_and_of_nothing_else(context: RunContext) -> None:
    note = Note(number=1, remote=None, context=context)
    elsewhere = Note(number=1, remote="run-7", context=replace(context, exchange="/other/disk", parameters={"a": 1}))
    assert note.token == elsewhere.token
    others = [
        note.next(),
        *(replace(note, context=replace(context, **{what: "x[0]"})) for what in ("run_id", "node", "project")),
    ]
    assert len({each.token for each in (note, *others)}) == 5
    assert len(note.token) == 40
    assert set(note.token) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_items_of_a_mapped_task_are_runs_of_their_own(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    @task(executor=MemoryExecutor(service=service))
    def each(item: int) -> int:
        return item

    @pipeline(name="mapped")
    def mapped() -> Any:
        return each.map([1, 2, 3])

    labels: list[str] = []
    service.meddle = lambda call, work: labels.append(work.label) if call == "submit" else None
    assert sorted(mapped.run()) == ["value of run-1", "value of run-2", "value of run-3"]
    assert sorted(label.partition("-")[0] for label in labels) == ["each[0]", "each[1]", "each[2]"]


def test_two_processes_that_have_one_run_make_one_remote_run(service: Service, context: RunContext) -> None:
    service.answered = lambda call, made: time.sleep(0.1)
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(lambda _: attempt(service, context), range(4)))
    assert values == ["value of run-1"] * 4


# -- notes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b'{"node": "wo', b"[]", b'{"node": "work", "number": null, "remote": null}'])
def test_a_note_that_cannot_be_read_is_none(service: Service, context: RunContext, content: bytes) -> None:
    note = Note(number=1, remote="run-1", context=context).write()
    (file,) = Path(context.exchange).iterdir()
    file.write_bytes(content)
    other = Note(number=1, remote="run-5", context=replace(context, node="other")).write()
    assert attempt(service, replace(context, node="work")) == "value of run-1"
    assert list(service.tokens) == [note.token]
    file.write_bytes(content)
    assert list(Note.all_of(replace(context, node=""))) == [replace(other, context=replace(context, node="other"))]


def test_nodes_with_long_or_like_names_have_notes_of_their_own(context: RunContext) -> None:
    names = ["x" * 80, "x" * 81, "x" * 81 + "y", "a b", "a/b", "a_b", "a[1]", "é"]
    for number, node in enumerate(names, 1):
        Note(number=number, remote=None, context=replace(context, node=node)).write()
    assert [Note.last_of(replace(context, node=node)).number for node in names] == list(range(1, len(names) + 1))


def test_of_another_runs_notes_in_the_same_folder_none_is_taken(context: RunContext) -> None:
    around = replace(context, run_id=RUN.replace("1", "2"))
    Note(number=3, remote="run-3", context=around).write()
    assert Note.last_of(context).number == 0
    assert not list(Note.all_of(context))


def test_a_run_is_found_on_another_machine_by_what_stands_in_the_bucket_and_the_newest_note_counts(
    service: Service,
    context: RunContext,
    s3: Any,
    make_bucket: Callable[[Any], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    location = AWSProvider.from_env().bucket_source(bucket=make_bucket(s3), path="any.parquet")
    assert isinstance(location, CloudLocation)
    shared = Shared(location=location, folder=f".glacier/exchange/x/{RUN}")
    here = replace(context, shared=shared)
    there = replace(here, exchange=str(tmp_path / "another disk"))
    service.meddle = lambda call, _: (_ for _ in ()).throw(KeyboardInterrupt()) if call == "fetch" else None
    with pytest.raises(KeyboardInterrupt):
        attempt(service, here)
    service.meddle = lambda call, _: None
    assert [note.remote for note in Note.all_of(replace(there, node=""))] == ["run-1"]
    assert attempt(service, there) == "value of run-1"

    service.runs["run-1"] = RemoteState(kind="failed")
    assert attempt(service, there) == "value of run-2"
    assert attempt(service, here) == "value of run-2"  # though the note of this disk names run-1
    assert [note.remote for note in Note.all_of(replace(here, node=""))] == ["run-1", "run-2"]  # a hook stops both


# -- a service that does not answer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["submit", "look", "fetch"])
def test_a_service_that_is_away_for_a_while_is_asked_again(service: Service, context: RunContext, call: str) -> None:
    times: list[str] = []

    def meddle(each: str, _: Any) -> None:
        times.append(each)
        if each == call and times.count(call) < 4:
            raise RemoteUnreachable("503")

    service.meddle = meddle
    assert attempt(service, context) == "value of run-1"
    assert len(service.tokens) == 1


@pytest.mark.parametrize("call", ["submit", "look", "fetch"])
def test_when_patience_ends_the_run_is_left_alone_and_a_retry_takes_it_up(
    service: Service, context: RunContext, call: str
) -> None:
    if call == "submit":  # which arrives, but its answer does not
        service.answered = failing("submit")
    else:
        service.meddle = failing(call)
    with pytest.raises(RemoteUnreachable, match=r"(?s)of task 'work' on executor 'memory'.*for 0.2 s: 503\nHint: what"):
        attempt(service, context, patience_seconds=0.2)
    assert (list(service.runs), service.cancelled) == (["run-1"], [])
    service.meddle = service.answered = failing()
    assert attempt(service, context) == "value of run-1"


def test_the_deadline_counts_while_a_service_is_away(service: Service, context: RunContext) -> None:
    service.meddle = failing("look")
    with pytest.raises(TimeoutError, match=r"Run run-1 of task 'work' on executor 'memory' was cancelled after 0.3 s"):
        attempt(service, context, timeout=0.3)
    assert service.cancelled == ["run-1"]


@pytest.mark.parametrize("call", ["find", "look", "fetch"])
def test_credentials_that_are_not_taken_leave_the_run_alone(service: Service, context: RunContext, call: str) -> None:
    note = Note(number=1, remote=None if call == "find" else "run-1", context=context).write()
    service.tokens[note.token], service.runs["run-1"] = "run-1", RemoteState(kind="succeeded", url="https://jobs/1")
    service.meddle = failing(call, error=lambda: RemoteDenied("401"))
    with pytest.raises(RemoteDenied, match=r"un.* of task 'work' on executor 'memory': 401"):
        attempt(service, context)
    service.meddle = failing()
    assert attempt(service, context) == "value of run-1"
    assert (list(service.tokens), service.cancelled) == ([note.token], [])


# -- what fails --------------------------------------------------------------------------------------------------------


def test_a_failure_names_task_executor_run_and_url_has_the_trace_and_no_secret(
    service: Service, context: RunContext
) -> None:
    redaction.reveal("hunter2hunter2")
    failed = RemoteState(kind="failed", message="no hunter2hunter2", trace="at line 7", url="https://jobs/1")
    service.answered = lambda call, made: service.runs.update({made: failed})
    with pytest.raises(RemoteFailed) as raised:
        attempt(service, context)
    assert str(raised.value) == (
        "Run run-1 (https://jobs/1) of task 'work' on executor 'memory' failed: no ********\n"
        "In the remote run:\nat line 7"
    )


def test_what_a_service_refuses_is_raised_as_it_is_and_submitted_again_under_the_same_token(
    service: Service, context: RunContext
) -> None:
    calls: list[tuple[str, Any]] = []

    def refuse(call: str, work: Any) -> None:
        calls.append((call, getattr(work, "token", None)))
        if call == "submit":
            raise ValueError("no such cluster")

    service.meddle = refuse
    for _ in range(2):
        with pytest.raises(ValueError, match="no such cluster"):
            attempt(service, context)
    token = Note(number=1, remote=None, context=context).token
    assert calls == [("submit", token), ("find", None), ("submit", token)]


def test_a_result_that_cannot_be_used_counts_as_a_failure(service: Service, context: RunContext) -> None:
    service.meddle = failing("fetch", error=lambda: FileNotFoundError("result.parquet"))
    with pytest.raises(FileNotFoundError):
        attempt(service, context)
    service.meddle = failing()

    def checked(value: Any) -> Any:
        raise CheckError(value)

    with pytest.raises(CheckError, match="value of run-2"):
        attempt(service, context, finish=checked)
    assert attempt(service, context) == "value of run-3"
    assert service.cancelled == []


# -- stopping ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    reset = run_context.stop.set(event)
    yield event
    run_context.stop.reset(reset)


def test_a_run_that_takes_too_long_is_cancelled_and_submitted_anew_by_a_retry(
    service: Service, context: RunContext
) -> None:
    service.answered = lambda call, made: service.runs.update({made: RemoteState(kind="running")})
    for settings in ({"deadline_seconds": 0.2}, {"timeout": 0.2}):
        with pytest.raises(TimeoutError, match=r"was cancelled after 0.2 s"):
            attempt(service, context, **settings)
    assert service.cancelled == ["run-1", "run-2"]  # run-1 may go on for a while, and is not taken up


@pytest.mark.parametrize("when", ["submit", "look"])
def test_when_the_run_ends_meanwhile_the_remote_run_is_cancelled(
    service: Service, context: RunContext, stop: threading.Event, when: str
) -> None:
    service.answered = lambda call, made: service.runs.update({made: RemoteState(kind="running")})
    service.meddle = lambda call, _: stop.set() if call == when else None
    with pytest.raises(RemoteFailed, match="was cancelled, because the run ended"):
        attempt(service, context)
    assert service.cancelled == ["run-1"]


@pytest.mark.parametrize("how", ["deadline", "end of the run", "Ctrl-C"])
@pytest.mark.parametrize("known", [True, False])
def test_a_run_that_is_being_taken_up_is_cancelled_too(
    service: Service, context: RunContext, stop: threading.Event, how: str, known: bool
) -> None:
    note = Note(number=1, remote="run-1" if known else None, context=context).write()
    service.tokens[note.token], service.runs["run-1"] = "run-1", RemoteState(kind="running", url="https://jobs/1")

    def meddle(call: str, _: Any) -> None:
        if call == "look":
            if how == "Ctrl-C":
                raise KeyboardInterrupt
            if how == "end of the run":
                stop.set()
            raise RemoteUnreachable("503")

    service.meddle = meddle
    with pytest.raises((TimeoutError, RemoteFailed, KeyboardInterrupt)):
        attempt(service, context, timeout=0.3)
    assert service.cancelled == ["run-1"]


def test_what_was_submitted_without_an_answer_is_found_and_cancelled(
    service: Service, context: RunContext, stop: threading.Event
) -> None:
    def arrived(call: str, _: Any) -> None:
        stop.set()
        raise RemoteUnreachable("reset by peer")

    service.answered = arrived
    with pytest.raises(RemoteFailed, match="because the run ended"):
        attempt(service, context)
    assert service.cancelled == ["run-1"]


def test_nothing_is_submitted_once_the_run_has_ended(
    service: Service, context: RunContext, stop: threading.Event
) -> None:
    stop.set()
    with pytest.raises(RemoteFailed, match="because the run ended"):
        attempt(service, context)
    assert not service.runs


def test_cancelling_is_tried_again_and_what_goes_on_is_told(
    service: Service, context: RunContext, caplog: pytest.LogCaptureFixture
) -> None:
    running = RemoteState(kind="running", url="https://jobs/1")
    service.answered = lambda call, made: service.runs.update({made: running})
    tries: list[str] = []

    def meddle(call: str, _: Any) -> None:
        if call == "cancel":
            tries.append(call)
            if len(tries) != 3:
                raise RemoteUnreachable("429")

    service.meddle = meddle
    with pytest.raises(TimeoutError):
        attempt(service, context, timeout=0.1)
    assert service.cancelled == ["run-1"]
    with caplog.at_level(logging.WARNING, "prefect.glacier"), pytest.raises(TimeoutError):
        attempt(service, context, timeout=0.1)
    assert "Run run-2 (https://jobs/1) of task 'work' on executor 'memory' could not be cancelled" in caplog.text
    assert Note.last_of(context).remote == "run-2"  # which the hook, or a retry, finds


def test_a_run_that_cannot_be_found_to_cancel_it_is_told(
    service: Service, context: RunContext, stop: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def lost(call: str, _: Any) -> None:
        stop.set()
        service.tokens.clear()
        raise RemoteUnreachable("reset by peer")

    service.answered = lost
    with caplog.at_level(logging.WARNING, "prefect.glacier"), pytest.raises(RemoteFailed):
        attempt(service, context)
    assert "The run of task 'work' on executor 'memory' could not be cancelled, and may go on" in caplog.text


# -- what it shows -----------------------------------------------------------------------------------------------------


def test_lines_are_logged_once_and_progress_when_it_changes(
    service: Service, context: RunContext, caplog: pytest.LogCaptureFixture
) -> None:
    states = [
        RemoteState(kind="running", progress=0.0, log=("one",)),
        RemoteState(kind="running", progress=0.5, log=("one", "two")),
        RemoteState(kind="running", progress=0.5, log=("one", "two")),
        RemoteState(kind="failed", progress=1.0, log=("one", "two", "three")),
    ]
    service.meddle = lambda call, made: (
        service.runs.update({made: states.pop(0)}) if call == "look" and states else None
    )
    with caplog.at_level(logging.INFO, "prefect.glacier"), pytest.raises(RemoteFailed):
        attempt(service, context)
    said = [line for line in caplog.messages if "run-1" not in line]
    assert said == ["one", "work: 0%", "two", "work: 50%", "three", "work: 100%"]
    caplog.clear()
    with caplog.at_level(logging.INFO, "prefect.glacier"):
        attempt(service, context)
    assert "one" not in caplog.messages  # they are in the log of the attempt that was theirs


@pytest.mark.parametrize("setting", ["poll_seconds", "patience_seconds", "deadline_seconds"])
@pytest.mark.parametrize("value", [0, -1, True, "5", None])
def test_a_setting_that_is_no_time_is_an_error(setting: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"MemoryExecutor has {setting}={value!r}; expected seconds above 0"):
        MemoryExecutor(**{setting: value})


# -- parcels -----------------------------------------------------------------------------------------------------------


def test_a_result_appears_whole(tmp_path: Path) -> None:
    place, content = FolderPlace(tmp_path), bytes(30_000_000)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [parcel_entry.write_content(content, place.uri("result.parquet")) for _ in "123"])
        while not writing.done():
            assert (read := place.read("result.parquet")) is None or len(parcel_entry.content_of(read)) == len(content)
        writing.result()


def test_a_body_that_is_submitted_again_does_not_disturb_the_one_that_reads(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "parcel")
    parcel.send(place, abs, {"x": -1})
    with open(place.uri(parcel_entry.JOB), "rb") as reader:
        before = Path(place.uri(parcel_entry.JOB)).read_bytes()
        parcel.send(place, abs, {"x": -1_000_000})
        assert reader.read() == before != place.read(parcel_entry.JOB)
    assert [file.name for file in place.folder.iterdir()] == [parcel_entry.JOB]
