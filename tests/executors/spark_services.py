"""Stand-ins for EMR Serverless and Dataproc Serverless on loopback, which really run what is submitted.

A job is a process in a folder of its own with the variables of the emulated bucket, which has nothing of this process's
modules but what is installed. Its Spark is real; since the wheel of PySpark has no client of S3, `s3://` is a folder
there (Hadoop's view file system), into which the job's folder is copied before it begins, and out of which after it.
What stands here is what the calls look like in the services' references; whether AWS or Google would take them, only
they can say.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import obstore
from obstore.store import ObjectStore

CUT = 0


@dataclass(kw_only=True)
class Job:
    """A job that was submitted."""

    id: str
    asked: dict[str, Any]
    process: subprocess.Popen[bytes]
    folder: Path
    cancelled: bool = False
    is_copied: threading.Event = field(default_factory=threading.Event)

    @property
    def state(self) -> str:
        code = self.process.poll()
        if self.cancelled:
            return "CANCELLED"
        if code is None or not self.is_copied.is_set():
            return "RUNNING"
        return "SUCCESS" if code == 0 else "FAILED"


@dataclass(kw_only=True)
class Services:
    """Both services.

    Attributes:
        folder: Where jobs run.
        stores: Buckets by address, as in "s3://name".
        env: Variables with which jobs reach them.
        failing: Answers that the next calls get in place of theirs, as in `[503]`; one that is `CUT` ends in the
            middle.
        calls: Methods and paths of all calls.
    """

    folder: Path
    stores: dict[str, ObjectStore] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    failing: list[int] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    url: str = ""

    def start(self) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"services": self}))
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def begin(self, token: str, entry: str, arguments: list[str], asked: dict[str, Any]) -> Job:
        """Run a job; the one that is there already if the token is known."""
        if token in self.jobs:
            return self.jobs[token]
        folder = self.folder / token
        folder.mkdir(parents=True)
        bucket, prefix = re.match(r"(\w+://[^/]+)/(.*)/$", arguments[0]).groups()
        store = self.stores[bucket]
        mirror = folder / "bucket"
        for page in obstore.list(store, prefix):
            for each in page:
                file = mirror / each["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(bytes(obstore.get(store, each["path"]).bytes()))
        code = mirror / entry.removeprefix(f"{bucket}/")
        view = f"spark.hadoop.fs.viewfs.mounttable.{bucket.partition('://')[2]}.linkFallback=file://{mirror}"
        conf = [
            "spark.master=local[1]",
            "spark.ui.enabled=false",
            "spark.driver.bindAddress=127.0.0.1",
            "spark.driver.host=127.0.0.1",
            "spark.hadoop.fs.s3.impl=org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
            "spark.hadoop.fs.viewfs.overload.scheme.target.s3.impl=org.apache.hadoop.fs.LocalFileSystem",
            "spark.hadoop.fs.viewfs.overload.scheme.target.file.impl=org.apache.hadoop.fs.LocalFileSystem",
            view,
        ]
        submit = " ".join(f"--conf {each}" for each in conf) + " pyspark-shell"
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONUNBUFFERED": "1", **self.env}
        # Polars would take credentials from where a real job has them, in place of those that the emulators want.
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text("import polars; polars.Config.set_default_credential_provider(None)")
        env["PYTHONPATH"] = str(site)
        env |= {"PYSPARK_SUBMIT_ARGS": submit, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
        env["SPARK_SUBMIT_OPTS"] = os.environ.get("SPARK_SUBMIT_OPTS", "")
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", str(code), *arguments],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        job = self.jobs[token] = Job(id=token, asked=asked, process=process, folder=folder)
        threading.Thread(target=self._put_back, args=(job, store, mirror), daemon=True).start()
        return job

    @staticmethod
    def _put_back(job: Job, store: ObjectStore, mirror: Path) -> None:
        before = {file.parent for file in mirror.rglob("*")}
        runs = True
        while runs:
            runs = job.process.poll() is None  # before the folders, so that the last is seen
            for folder in {Path(place) for place, _, files in os.walk(mirror) if "_SUCCESS" in files} - before:
                for file in folder.glob("*.parquet"):  # what Spark has finished
                    obstore.put(store, str(file.relative_to(mirror)), file.read_bytes())
                before.add(folder)
            time.sleep(0.02)
        job.is_copied.set()

    def stop(self) -> None:
        for job in self.jobs.values():
            end(job)


def end(job: Job) -> None:
    """End a job's processes."""
    if job.process.poll() is None:
        os.killpg(job.process.pid, signal.SIGKILL)
        job.process.wait()


class _Handler(BaseHTTPRequestHandler):
    services: Services

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        services, url = self.services, urlsplit(self.path)
        services.calls.append(f"{self.command} {url.path}")
        if services.failing and services.failing[0] == CUT:
            services.failing.pop(0)
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{")
            self.close_connection = True
        elif services.failing:
            self._answer(services.failing.pop(0), {"message": "not just now"})
        elif url.path.startswith("/v1/"):
            self._answer(*self._dataproc(url.path, parse_qs(url.query), body))
        else:
            self._answer(*self._emr(url.path, body))

    do_GET = do_POST = do_DELETE = _serve

    def _emr(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        services = self.services
        _, _, application, _, *rest = path.split("/")
        if application != "00app":
            return 404, {"__type": "ResourceNotFoundException", "message": f"Application {application} does not exist"}
        if self.command == "POST":
            driver = body["jobDriver"]["sparkSubmit"]
            job = services.begin(body["clientToken"], driver["entryPoint"], driver["entryPointArguments"], body)
            return 200, {"applicationId": application, "jobRunId": job.id, "arn": _arn(job)}
        if not rest:
            live = [each for each in services.jobs.values() if each.state == "RUNNING" and "jobDriver" in each.asked]
            return 200, {"jobRuns": [{"id": each.id, "name": each.asked["name"], "state": each.state} for each in live]}
        if (job := services.jobs.get(rest[0])) is None:
            return 404, {"__type": "ResourceNotFoundException", "message": f"Job {rest[0]} does not exist"}
        if self.command == "DELETE":
            job.cancelled = job.state == "RUNNING"
            end(job)
            return 200, {"applicationId": application, "jobRunId": job.id}
        details = "Job failed, please check complete logs." if job.state == "FAILED" else ""
        run = {"jobRunId": job.id, "arn": _arn(job), "state": job.state, "stateDetails": details}
        return 200, {"jobRun": {**run, "jobDriver": job.asked["jobDriver"], "applicationId": application}}

    def _dataproc(self, path: str, query: dict[str, list[str]], body: dict[str, Any]) -> tuple[int, Any]:
        services = self.services
        if path.endswith(":cancel"):
            job = services.jobs[path.rpartition("/")[2].removesuffix(":cancel")]
            job.cancelled = True
            end(job)
            return 200, {}
        batches = "/v1/projects/emulated/locations/europe-west1/batches"
        if not path.startswith(batches):
            return 403, {"error": {"code": 403, "message": "Permission denied on the project", "status": "DENIED"}}
        if self.command == "POST":
            (token,) = query["batchId"]
            if token in services.jobs:
                return 409, {"error": {"code": 409, "message": "Already exists", "status": "ALREADY_EXISTS"}}
            batch = body["pysparkBatch"]
            services.begin(token, batch["mainPythonFileUri"], batch["args"], body)
            return 200, {"name": f"projects/emulated/regions/europe-west1/operations/{token}", "done": False}
        if (job := services.jobs.get(path.rpartition("/")[2])) is None:
            return 404, {"error": {"code": 404, "message": "Not found", "status": "NOT_FOUND"}}
        state = {"SUCCESS": "SUCCEEDED"}.get(job.state, job.state)
        operation = f"projects/emulated/regions/europe-west1/operations/{job.id}"
        return 200, {**job.asked, "state": state, "stateMessage": "", "operation": operation}


def _arn(job: Job) -> str:
    return f"arn:aws:emr-serverless:us-east-1:123456789012:/applications/00app/jobruns/{job.id}"
