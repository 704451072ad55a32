"""The folders of `terraform_modules` as tests read them: what a module declares, asks for, and shows in its README."""

from __future__ import annotations

import re
import shutil
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from packaging.specifiers import SpecifierSet

from tests.terraform.mirror import REPOSITORY, VERSIONS

MODULES = REPOSITORY / "terraform_modules"
PROVIDER_BLOCKS = {  # a module has none; with real plugins Terraform wants one even to validate it
    "hashicorp/aws": 'provider "aws" {\n  region = "eu-west-1"\n}\n',
    "hashicorp/azurerm": f'provider "azurerm" {{\n  features {{}}\n  subscription_id = "{uuid.UUID(int=0)}"\n}}\n',
    "hashicorp/google": 'provider "google" {\n  project = "demo"\n}\n',
    "databricks/databricks": 'provider "databricks" {\n  host = "https://example.cloud.databricks.com"\n}\n',
}


@dataclass(frozen=True)
class Module:
    """One module.

    Args:
        folder: Its folder.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Its name below `terraform_modules`, as in "aws/bucket"."""
        return self.folder.relative_to(MODULES).as_posix()

    @property
    def cloud(self) -> str:
        """The folder that it is in, as in "aws"."""
        return self.folder.parent.name

    @property
    def kind(self) -> str:
        """What it makes, as in "bucket"."""
        return self.folder.name

    @cached_property
    def readme(self) -> str:
        """Its README."""
        return (self.folder / "README.md").read_text()

    @property
    def examples(self) -> list[str]:
        """The examples of its README."""
        return re.findall(r"^```hcl\n(.*?)^```", self.readme, flags=re.M | re.S)

    @property
    def requires(self) -> dict[str, str]:
        """The providers that it asks for: the version by source."""
        versions = (self.folder / "versions.tf").read_text()
        found = re.findall(r'source\s*=\s*"([^"]+)",?\s*version\s*=\s*"([^"]+)"', versions)
        return {source.lower(): version for source, version in found}

    @property
    def mirrors(self) -> dict[str, str]:
        """The mirrors to try it with, as all of its versions are there, each by a name that tells them apart."""
        found, seen = {}, set()
        for name, versions in VERSIONS.items():
            chosen = {source: versions[source] for source in self.requires if source in versions}
            fits = all(version in _specifiers(self.requires[source]) for source, version in chosen.items())
            if fits and tuple(chosen.items()) not in seen:
                majors = [f"{source.partition('/')[2]}{version.split('.')[0]}" for source, version in chosen.items()]
                found["-".join([self.name, *majors])] = name
                seen.add(tuple(chosen.items()))
        return found or {self.name: "newer"}  # `init` says what is wrong

    def declared(self, kind: str) -> dict[str, str]:
        """Return the blocks of a kind, "variable" or "output", in the order of the code: the text of each by name."""
        text = (self.folder / f"{kind}s.tf").read_text()
        return dict(re.findall(rf'^{kind} "(\w+)" \{{\n(.*?)^\}}', text, flags=re.M | re.S))

    def table(self, kind: str) -> dict[str, list[str]]:
        """Return the table of a kind in the README: the other cells of each row by name."""
        _, _, table = self.readme.partition(f"\n| {kind} |")
        rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", table.partition("\n\n")[0], flags=re.M)
        return {name: [cell.strip() for cell in re.split(r"(?<!\\)\|", cells)] for name, cells in rows}

    def files(self) -> dict[str, str]:
        """Return its Terraform files by name, without those of its tests."""
        return {file.name: file.read_text() for file in sorted(self.folder.glob("*.tf"))}

    def provider_blocks(self) -> str:
        """Return a block for each provider that needs one."""
        return "".join(PROVIDER_BLOCKS.get(source, "") for source in self.requires)

    def root(self) -> str:
        """Return a root module that is the example of the README, and what Terraform wants of any root."""
        [example] = self.examples
        sources = "".join(f'{source.rpartition("/")[2]} = {{ source = "{source}" }}\n' for source in self.requires)
        return f"{example}{self.provider_blocks()}terraform {{\nrequired_providers {{\n{sources}}}\n}}\n"


def copied(module: Module, folder: Path) -> Path:
    """Copy a module, without what Terraform left in it when it was tried by hand; alone, as `glacier generate` does."""
    ignored = shutil.ignore_patterns(".terraform", ".terraform.lock.hcl", "*.tfstate*")
    return shutil.copytree(module.folder, folder / "modules" / module.name, ignore=ignored)


def type_shown(variable: str) -> str:
    """Return how a README writes the type of a variable, of the text of its block."""
    [given] = re.findall(r"^  type\s*= (.*?)(?=^  \w|^$|\Z)", variable, flags=re.M | re.S)
    kind, _ = _type(re.findall(r'"[^"]*"|[\w.]+|[^\s\w]', given))
    return kind


def default_shown(variable: str) -> str:
    """Return how a README writes the default of a variable, of the text of its block; empty if it has none."""
    found = re.search(r"^  default\s*= (.*)$", variable, flags=re.M)
    return "" if found is None else "`" + re.sub(r'^"(.+)"$', r"\1", found[1]) + "`"


def _type(words: list[str]) -> tuple[str, list[str]]:
    """Return how a README writes the type that words of Terraform's begin with, and the words after it."""
    kind, *words = words
    if words[:1] != ["("]:
        return kind, words
    if kind == "object":
        fields, words = [], words[2:]
        while words[0] != "}":
            name, after = words[0], _type(words[2:])[1]
            default = words[-len(after) - 2]  # of `optional(type, default)`, and part of something else otherwise
            plain = (
                words[2] == "optional" and words[-len(after) - 3] == "," and re.fullmatch(r'[\d.]+|\w+|".+"', default)
            )
            fields.append(f"{name} = {default}" if plain else name)
            words = after[after[0] == "," :]
        return f"`{{ {', '.join(fields)} }}`" if fields else "`{}`", words[2:]
    inner, words = _type(words[1:])
    depth = 1
    while depth:  # what `optional` has as default
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(words[0], 0)
        words = words[1:]
    return f"{kind} of {inner}{'s' if inner.isalpha() else ''}", words


def _specifiers(constraint: str) -> SpecifierSet:
    return SpecifierSet(constraint.replace("~>", "~="))


ALL = [Module(file.parent) for file in sorted(MODULES.glob("*/*/main.tf"))]
NAMES = [each.name for each in ALL]
# Each module with each major version that it is for: (its id, the module, the name of a mirror).
WITH_MIRRORS = [(case, module, mirror) for module in ALL for case, mirror in module.mirrors.items()]
