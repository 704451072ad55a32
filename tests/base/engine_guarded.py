"""A run under a guard that notes every connection and name look-up beyond this machine; prints JSON."""

import json
import os
import subprocess
import sys
import threading

LOOK_UPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")
elsewhere: list[str] = []


def guard(event: str, args: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = args[1]
        if isinstance(address, tuple) and address[0] != "127.0.0.1":
            elsewhere.append(f"{event} {address}")
    elif event in LOOK_UPS and args[0] != "127.0.0.1":
        elsewhere.append(f"{event} {args}")


sys.addaudithook(guard)

# As for a user at a terminal, where Prefect reports first uses and notes them in its home.
for name in [name for name in os.environ if name == "CI" or name.startswith("GITHUB")]:
    del os.environ[name]
terminal, stderr = os.openpty()
os.dup2(stderr, 2)
threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(terminal, 1024), b"")], daemon=True).start()

from glacier_prefect import engine  # noqa: E402  (first: importing Prefect sends something, too)

# isort: split
from prefect import flow, tags, task  # noqa: E402
from prefect.assets import materialize  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402

CHILD = """
import json, os
from glacier_prefect import prefect_api
variables = [name for name in os.environ if name in ("PREFECT_API_URL", "NO_PROXY")]
print(json.dumps([prefect_api.configured_api(), variables]))
"""


@task(cache_policy=NO_CACHE, tags=["tagged"], retries=1)
def plus(x: int) -> int:
    return x + 1


@materialize("s3://bucket/table", cache_policy=NO_CACHE)
def table(x: int) -> int:
    return x


@task(cache_policy=NO_CACHE)
def child() -> str:
    return subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True).stdout


@flow
def inner(x: int) -> int:
    return plus(x)


@flow
def outer() -> tuple[int, str]:
    with tags("more"):
        return table(plus.submit(inner(1) + plus(1)).result() + 1), child()


if __name__ == "__main__":
    with engine.serverless():
        result, seen = engine.run_flow(outer, {}).result()
    loaded = [name for name in ("prefect.server", "sqlalchemy") if name in sys.modules]
    print(json.dumps({"result": result, "elsewhere": elsewhere, "child": json.loads(seen), "loaded": loaded}))
