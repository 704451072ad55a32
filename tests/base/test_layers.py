"""What may import what: the layers of the package, and the packages that Glacier declares.

The contracts are in `pyproject.toml` under `[tool.importlinter]`.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_imports_between_modules_point_downwards(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("lint-imports")
    lint = subprocess.run([command, "--no-logo", "--cache-dir", tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_private_parts_of_prefect_are_imported_by_the_engine_only() -> None:
    found = set()
    for file in (ROOT / "glacier_prefect").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            if any(name.startswith("prefect.") and "._" in name for name in imported):
                found.add(str(file.relative_to(ROOT)))
    assert found == {"glacier_prefect/engine.py"}


def test_every_package_that_is_imported_is_declared_and_not_just_brought_by_prefect() -> None:
    distributions = packages_distributions()
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    base, declared = names(PROJECT["dependencies"]), names(PROJECT["dependencies"] + extras)
    undeclared = []
    for file in (ROOT / "glacier_prefect").rglob("*.py"):
        for statement, module, at_import in third_party_imports(file):
            # a module that is not installed here belongs to an extra that these tests do not use
            found = {normal(name) for name in distributions.get(module, ())}
            # `testing` is the one package that nothing of Glacier imports, and has an extra of its own
            if found and not found & (base if at_import and "testing" not in file.parts else declared):
                undeclared.append(f"{file.relative_to(ROOT)}:{statement.lineno} imports {module} ({', '.join(found)})")
    assert undeclared == []


def third_party_imports(file: Path) -> Iterator[tuple[ast.stmt, str, bool]]:
    """Yield each import of another distribution's module, and whether it happens when the file is imported.

    Imports that only a type checker sees are left out: they load nothing.
    """
    tree = ast.parse(file.read_text())
    checked = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    unseen = {node for block in checked for statement in block.body for node in ast.walk(statement)}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lazy = {node for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if node in unseen:
            continue
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
        else:
            continue
        for module in {name.partition(".")[0] for name in modules}:
            if module not in sys.stdlib_module_names and module != "glacier_prefect":
                yield node, module, node not in lazy


def names(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in requirements}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
