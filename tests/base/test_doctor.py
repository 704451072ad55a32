"""`glacier doctor`: what each check sees, and that a failure comes with its fix."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from glacier_prefect import doctor
from glacier_prefect.cli import main
from glacier_prefect.doctor import CheckResult, diagnose

ROOT = Path(__file__).parents[2]
CLOUDS = ("credentials", "buckets", "left_behind", "work_pool")
DISK = ("base_path", "disk", "hard_links", "leftovers")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def checks() -> dict[str, CheckResult]:
    return {each.id: each for each in diagnose()}


def in_a_process(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from glacier_prefect.cli import main; main()", "doctor", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})


@contextmanager
def server(answer: Callable[[str], tuple[int, str]]) -> Iterator[str]:
    """A web server that answers a path with a status and a text; yields the URL that is configured as the API."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://user:password@127.0.0.1:{served.server_address[1]}/api"
        try:
            with temporary_settings({PREFECT_API_URL: url}):
                yield url
        finally:
            served.shutdown()
            thread.join()


def installed(place: Path, name: str, version: str, *lines: str) -> None:
    """Make pip's notes of a package that is installed."""
    notes = place / f"{name.replace('-', '_')}-{version}.dist-info"
    notes.mkdir()
    (notes / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
    )


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_a_sound_installation_passes_all_checks_but_those_of_an_api_that_is_not_there() -> None:
    found = checks()
    assert {name: each.status for name, each in found.items() if each.status != "ok"} == {
        "api": "skipped",
        "api_version": "skipped",
        **dict.fromkeys(CLOUDS, "skipped"),
    }
    assert not any(each.fix for each in found.values())
    assert not list(Path.cwd().iterdir())  # it changes nothing


def test_the_list_of_checks_is_closed_and_written_down() -> None:
    told = re.findall(r"^- (.*?):", doctor.__doc__ or "", re.MULTILINE)
    in_module = [name for line in told for name in re.findall(r"`(\w+)`", line)]
    table = (ROOT / "README.md").read_text().partition("| check |")[2].partition("\n\n")[0]
    in_readme = [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split(" | ")[0])]
    assert list(checks()) == in_module == in_readme


def test_a_failure_ends_with_1_and_comes_with_its_fix_as_text_and_as_json() -> None:
    url = "http://127.0.0.1:1/api"
    done = in_a_process(PREFECT_API_URL=url)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert re.search(rf"^api          failed   The Prefect API {url}, set in the environment var", done.stdout, re.M)
    assert re.search(r"^ {22}fix: start that server or correct the setting", done.stdout, re.M)
    as_json = in_a_process("--json", PREFECT_API_URL=url)
    assert as_json.returncode == 1
    report = json.loads(as_json.stdout)
    assert (report["version"], report["ok"]) == (1, False)
    (api,) = [each for each in report["checks"] if each["id"] == "api"]
    assert api.keys() == {"id", "status", "seen", "fix"}
    assert api["status"] == "failed"
    assert api["fix"].startswith("start that server")


def test_without_a_failure_it_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_an_installation_that_is_broken_is_a_finding_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "broken/prefect").mkdir(parents=True)
    (tmp_path / "broken/prefect/__init__.py").write_text("import a_module_that_is_gone")
    done = in_a_process(PYTHONPATH=str(tmp_path / "broken"))
    assert done.returncode == 1
    assert "api          failed   ModuleNotFoundError: No module named 'a_module_that_is_gone'" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["doctor", "ui"])
def test_the_help_of_the_commands_loads_nothing_heavy(command: str) -> None:
    code = (
        "import sys; from glacier_prefect.cli import main\n"
        f"try: main([{command!r}, '--help'])\nexcept SystemExit: pass\n"
        "print('LOADED', *sorted({'prefect', 'packaging', 'fastapi'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED"


# -- versions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "name", "version", "seen"),
    [
        ("prefect", "prefect", "3.9.1", "prefect 3.9.1 is outside <3.9,>=3.8.8: Glacier leans on"),
        ("polars", "polars", "1.30.0", "polars 1.30.0 is outside <3,>=2.1"),
        ("packages", "fastapi", "0.165.0", "cannot start with 0.155 and later"),
        ("packages", "sqlalchemy", "2.1.0", "with 2.1 the server of Prefect 3.8 gave foreign-key errors"),
    ],
)
def test_versions_outside_the_bounds_fail_with_the_command_that_mends_it(
    check: str, name: str, version: str, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, name, version)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = checks()[check]
    assert found.status == "failed"
    assert seen in found.seen
    assert found.fix.startswith(f"pip install '{name}<")


def test_python_and_the_packages_of_an_installed_extra_are_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extras = [f"Provides-Extra: {name}" for name in ("one", "two")]
    needs = ["prefect>=3", "polars>=2", "absent>=1", "first<2; extra == 'one'", "gone<2; extra == 'two'"]
    lines = ["Requires-Python: >=3.99", *extras, *(f"Requires-Dist: {each}" for each in needs)]
    installed(tmp_path, "glacier-prefect", "0.0.1", *lines)
    installed(tmp_path, "first", "2.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = checks()
    assert found["python"].status == "failed"
    assert "Glacier needs >=3.99" in found["python"].seen
    assert found["glacier"].status == "warning"
    assert found["packages"].status == "failed"
    assert found["packages"].seen.splitlines() == [
        "absent is not installed; Glacier needs >=1",
        "first 2.0 is outside <2 (for the extra one)",
    ]
    assert found["packages"].fix == "pip install 'absent>=1' 'first<2'"


# -- the environment's settings ----------------------------------------------------------------------------------------


def test_settings_that_cannot_be_read_fail_and_the_checks_of_the_disk_are_left_out(folder: Path) -> None:
    (folder / "glacier.toml").write_text("[environments.dev]\nprovidr = 'local'\n")
    found = checks()
    assert found["environment"].status == "failed"
    assert "providr" in found["environment"].seen
    assert [found[name].status for name in DISK] == ["skipped"] * 4


def test_the_environment_is_the_chosen_one(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "glacier.toml").write_text("[environments.prod]\nprovider = 'aws'\n")
    monkeypatch.setenv("GLACIER_ENV", "prod")
    found = checks()
    assert found["environment"].seen.startswith("prod, provider aws (")
    assert found["base_path"].status == "skipped"
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--env", "prd"])
    assert ended.value.code == 1
    assert re.search(r"environment  failed .*'prd'.*prod", capsys.readouterr().out)


# -- the API -----------------------------------------------------------------------------------------------------------


def test_a_foreign_web_server_in_the_place_of_the_api_fails_and_no_password_is_shown() -> None:
    with server(lambda path: (404, "nothing here")):
        absent = checks()
    with server(lambda path: (200, "<html>Welcome</html>")):
        welcoming = checks()
    for found in (absent, welcoming):
        assert (found["api"].status, found["api_version"].status) == ("failed", "skipped")
        assert found["api"].fix
        assert "password" not in str(found)
    assert "404 Not Found" in absent["api"].seen
    assert "answers, but not as a Prefect API does" in welcoming["api"].seen


@pytest.mark.parametrize(
    ("version", "status", "seen"),
    [
        ("2.20.4", "failed", "the major versions have to be equal"),
        ("3.0.1", "warning", "an older server"),
        ("3.99.0", "ok", "the API runs Prefect 3.99.0"),
    ],
)
def test_the_version_of_the_api_is_compared_with_that_here(version: str, status: str, seen: str) -> None:
    with server(lambda path: (200, json.dumps(version) if path.endswith("/admin/version") else "true")):
        found = checks()
    assert found["api"].status == "ok"
    assert found["api"].seen.endswith(f"/api, Prefect {version}")
    assert found["api_version"].status == status
    assert seen in found["api_version"].seen
    assert bool(found["api_version"].fix) == (status != "ok")


# -- Terraform ---------------------------------------------------------------------------------------------------------


def program(place: Path, name: str, version: str) -> None:
    place.mkdir(exist_ok=True)
    (place / name).write_text(f'#!/bin/sh\necho \'{{"terraform_version": "{version}"}}\'\n')
    (place / name).chmod(0o755)


def test_a_terraform_that_is_too_old_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "terraform", "1.5.7")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    found = checks()["terraform"]
    assert found.status == "failed"
    assert "is version 1.5.7; Glacier needs 1.7 or newer" in found.seen
    assert found.fix.startswith("see https://")


def test_no_terraform_is_a_warning_that_knows_of_the_other(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    absent = checks()["terraform"]
    assert absent.status == "warning"
    assert "There is no program 'terraform' on PATH. Deploying needs it." in absent.seen
    assert absent.fix.startswith("install terraform 1.7 or newer")
    for name in ("sh", "echo"):
        (tmp_path / "bin" / name).symlink_to(f"/bin/{name}")
    program(tmp_path / "bin", "tofu", "1.9.0")
    assert 'write terraform = "tofu"' in checks()["terraform"].fix
    (folder / "glacier.toml").write_text("[environments.dev]\nterraform = 'tofu'\n")
    assert (checks()["terraform"].status, checks()["terraform"].seen) == ("ok", "tofu 1.9.0")


# -- the disk ----------------------------------------------------------------------------------------------------------


def test_a_base_path_that_cannot_be_written_to_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder / "readonly"
    place.mkdir(mode=0o555)
    if os.access(place, os.W_OK):  # nothing stops root but a file system that takes no files
        place = Path("/proc")
    monkeypatch.setenv("GLACIER_BASE_PATH", str(place / "data"))
    found = checks()
    assert found["base_path"].status == "failed"
    assert "cannot be written to" in found["base_path"].seen
    assert "GLACIER_BASE_PATH" in found["base_path"].fix
    assert found["hard_links"].status == "skipped"


def test_a_base_path_below_a_file_fails(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "glacier.toml").write_text("[environments.dev]\nbase_path = 'file/data'\n")
    found = checks()["base_path"]
    assert (found.status, found.seen) == ("failed", "file/data cannot be a folder: file is none")


def test_what_runs_left_behind_is_measured_and_much_of_it_is_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("exchange/run/a.parquet", 1500), ("cache/frames/b.parquet", 2_000_000)):
        file = folder / "data/.glacier" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(size))
    (folder / "data/source.parquet").write_bytes(bytes(5_000_000))
    os.link(folder / "data/source.parquet", folder / "data/.glacier/exchange/run/snapshot")  # costs no room
    seen = "data/.glacier: handed-over frames 1.5 kB, cached results 2.0 MB"
    assert (checks()["leftovers"].status, checks()["leftovers"].seen) == ("ok", seen)
    monkeypatch.setattr(doctor, "MANY_LEFTOVERS", 2_000_000)
    found = checks()["leftovers"]
    assert (found.status, found.seen) == ("warning", seen)
    assert "delete data/.glacier/exchange" in found.fix


def test_little_room_is_a_warning_and_none_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SMALL_DISK", 1 << 60)
    assert checks()["disk"].status == "warning"
    monkeypatch.setattr(doctor, "FULL_DISK", 1 << 60)
    assert checks()["disk"].status == "failed"
    assert checks()["disk"].fix.startswith("make room")
