"""Which Prefect API is used, and what is said of one that cannot be."""

from __future__ import annotations

import http.server
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import prefect
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from glacier_prefect import engine, prefect_api
from glacier_prefect.deployments.api import Api
from glacier_prefect.errors import ApiUnreachable


def test_no_api_is_configured_by_default_nor_inside_a_serverless_run() -> None:
    assert prefect_api.configured_api() is None
    with engine.serverless():
        assert prefect_api.configured_api() is None
    with temporary_settings({PREFECT_API_URL: "https://api.prefect.cloud/api/accounts/a/workspaces/w"}):
        assert prefect_api.configured_api() == "https://api.prefect.cloud/api/accounts/a/workspaces/w"


def test_a_configured_api_that_does_not_answer_is_an_error_that_says_where_it_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    started = time.monotonic()
    with pytest.raises(ApiUnreachable) as error:
        prefect_api.check_api("http://user:password@127.0.0.1:1/api")
    assert time.monotonic() - started < 5
    assert "http://127.0.0.1:1/api, set in the environment variable PREFECT_API_URL" in str(error.value)
    assert "password" not in str(error.value)


def test_an_api_that_answers_passes_and_one_that_refuses_does_not() -> None:
    with engine.serverless():
        endpoint = engine._endpoint
        assert endpoint is not None
        url, wrong = endpoint.url, f"http://127.0.0.1:{endpoint.port}/api"
        thread = ThreadPoolExecutor(1)
        assert thread.submit(prefect_api.check_api, url).result() is None
        with pytest.raises(ApiUnreachable, match="403"):
            thread.submit(prefect_api.check_api, wrong).result()
        thread.shutdown()


def test_a_locked_database_is_asked_again_soon() -> None:
    """Prefect's own client would wait for two seconds each time."""
    asked: list[float] = []

    class Answers(http.server.BaseHTTPRequestHandler):
        def answer(self, code: int, body: bytes) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            known = {"/api/health": True, "/api/admin/version": prefect.__version__}
            self.answer(200 if self.path in known else 404, json.dumps(known.get(self.path)).encode())

        def do_POST(self) -> None:
            asked.append(time.monotonic())
            self.answer(*((503, b"{}") if len(asked) < 3 else (200, b"[]")))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api"
        with temporary_settings({PREFECT_API_URL: url}), Api() as api:
            assert api.read("POST", "/work_pools/filter", {}) == []
            assert (api.url, len(asked)) == (url, 3)
        server.shutdown()
    assert asked[-1] - asked[0] < 1.5
