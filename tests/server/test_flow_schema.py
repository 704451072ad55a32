"""The parameter schema of a pipeline is that of a hand-written Prefect flow with the same function."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("flow_schema")

CODE = '''
from __future__ import annotations
import datetime
import enum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional
import prefect
from pydantic import BaseModel, Field
from glacier_prefect import Pipeline, pipeline, task

class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"

class Window(BaseModel):
    """From when to when."""
    start: datetime.date
    end: datetime.date | None = None
    step: int = Field(default=1, ge=1, description="Days from one to the next.")

class Nested(BaseModel):
    windows: list[Window] = []

def many(
    required: str,
    limit: int = 1000,
    ratio: float = 0.5,
    flag: bool = False,
    name: str | None = None,
    old: Optional[int] = None,
    mode: Literal["fast", "safe"] = "safe",
    colour: Colour = Colour.RED,
    day: datetime.date = datetime.date(2026, 1, 2),
    moment: datetime.datetime | None = None,
    pause: datetime.timedelta = datetime.timedelta(hours=1),
    tables: list[str] = ["a", "b"],
    sizes: dict[str, int] = {"a": 1},
    window: Window = Window(start=datetime.date(2026, 1, 1)),
    nested: Nested | None = None,
    bounded: Annotated[int, Field(ge=1, le=9, title="From one to nine")] = 3,
    pair: tuple[int, str] = (1, "a"),
    anything: Any = None,
    untyped=7,
    *,
    path: Path = Path("data"),
):
    """Take many parameters.

    More of what it does.

    Args:
        required: What has no default.
        limit: The most rows; at least one.
            It may go over lines.
        window (Window): Which days.
        path: Where.
    """
    return noop()

def none():
    return noop()

@task
def noop(): return 1

TWINS = {
    "many": (pipeline(many), prefect.flow(many)),
    "none": (pipeline(none), prefect.flow(none)),
    "declared": (Pipeline("declared", tasks=[noop]), prefect.flow(none)),
}
for name, (made, _) in TWINS.items():
    globals()[name] = made

if __name__ == "__main__":
    for name, (made, twin) in TWINS.items():
        made.flow.to_deployment("made").apply()
        twin.with_options(name=name).to_deployment("twin").apply()
'''


@pytest.fixture(scope="module")
def registered(project: Any, api: Any) -> Any:
    """Give the deployment of a pipeline and that of its twin."""
    project.write("flow.py", CODE)
    project.run("flow.py")
    return lambda name: (api.deployment(f"{name}/made"), api.deployment(f"{name}/twin"))


@pytest.mark.parametrize("name", ["many", "none", "declared"])
def test_the_registered_schema_is_that_of_the_hand_written_twin(name: str, registered: Any) -> None:
    made, twin = registered(name)
    assert made["parameter_openapi_schema"] == twin["parameter_openapi_schema"]
    assert made["enforce_parameter_schema"] == twin["enforce_parameter_schema"]


def test_the_schema_says_types_defaults_and_descriptions(registered: Any) -> None:
    schema = registered("many")[0]["parameter_openapi_schema"]
    assert schema["required"] == ["required"]
    assert len(schema["properties"]) == 20
    limit = schema["properties"]["limit"]
    assert (limit["type"], limit["default"], limit["position"]) == ("integer", 1000, 1)
    assert limit["description"].startswith("The most rows")
    assert schema["properties"]["mode"]["enum"] == ["fast", "safe"]
    assert set(schema["definitions"]) == {"Colour", "Nested", "Window"}


def test_description_and_entrypoint_are_those_of_the_function(registered: Any) -> None:
    made, twin = registered("many")
    assert made["description"] == twin["description"]
    assert made["description"].startswith("Take many parameters.")
    assert made["entrypoint"].endswith("flow.py:many.flow")


def test_a_wrong_parameter_is_refused_by_the_server(registered: Any, api: Any) -> None:
    import urllib.error

    made, _ = registered("many")
    with pytest.raises(urllib.error.HTTPError) as raised:
        api.post(f"/deployments/{made['id']}/create_flow_run", parameters={"required": "x", "limit": "many"})
    assert raised.value.code == 409
    assert "is not of type 'integer'" in raised.value.read().decode()
