"""Names that a cloud would refuse are refused before Terraform runs, by the rule that its module states."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from glacier_prefect.errors import ConfigurationError
from glacier_prefect.providers.names import RULES, check_name
from tests.terraform import roots
from tests.terraform.modules import MODULES

GOOD = {
    "aws/bucket": ["abc", "a.b-c", "1-2", "a" * 63],
    "azure/bucket": ["abc", "a-b-c", "1b3", "a" * 63],
    "azure/account": ["abc", "a1" * 12],
    "gcp/bucket": ["abc", "a_b-c", "a" * 63],
}
BAD = {
    "aws/bucket": [
        "ab",
        "a" * 64,
        "Abc",
        "a_b",
        "-abc",
        "abc-",
        "a..b",
        "10.0.0.1",
        "käse",
        "xn--a",
        "a--x-s3",
        "abc\n",
        "",
    ],
    "azure/bucket": ["ab", "a" * 64, "Abc", "a_b", "a--b", "-abc", "abc-", "a.b", "käse", "٣٣٣", "abc\n"],
    "azure/account": ["ab", "a" * 25, "Abc", "a-b", "käse", "٣٣٣"],
    "gcp/bucket": ["ab", "a" * 64, "Abc", "a.b", "-abc", "abc-", "goog-a", "my-google-data", "käse", "٣٣٣"],
}
GOOD |= {
    "aws/identity": ["github-glacier-shop-prod", "a", "A" * 50],
    "azure/identity": ["github-glacier-shop-prod", "a_", "A" * 101],
    **{
        f"{cloud}/state": GOOD[f"{cloud}/{'account' if cloud == 'azure' else 'bucket'}"]
        for cloud in ("aws", "azure", "gcp")
    },
}
BAD |= {
    "aws/identity": ["", "-a", "a.b", "a" * 51, "a*", "käse", "a\n", "a b", "${a}"],
    "azure/identity": ["", "a", "-ab", "a.b", "a" * 102, "a*", "käse", "a/b"],
    **{
        f"{cloud}/state": BAD[f"{cloud}/{'account' if cloud == 'azure' else 'bucket'}"]
        for cloud in ("aws", "azure", "gcp")
    },
}


@pytest.mark.parametrize("module", RULES)
def test_names_are_told_apart_by_the_words_of_the_module(module: str) -> None:
    for name in GOOD[module]:
        check_name(module, name, "")
    found = set()
    for name in BAD[module]:
        with pytest.raises(ConfigurationError) as raised:
            check_name(module, name, "do this.")
        assert str(raised.value).startswith(f"{name!r} is no name for {module.replace('/', ' ')}. ")
        assert str(raised.value).endswith("\nHint: do this.")
        found.add(str(raised.value).partition(". ")[2].partition("\n")[0])
    assert found == {rule for _, _, rule in RULES[module]}
    variables = (MODULES / module / "variables.tf").read_text()
    [declared] = re.findall(r'^variable "name" \{\n(.*?)^\}', variables, flags=re.M | re.S)
    assert re.findall(r'error_message = "(.*)"', declared) == [rule for _, _, rule in RULES[module]]


@pytest.mark.parametrize(("environment", "said"), [("aws", "S3: "), ("azure", "Azure takes"), ("gcp", "Google takes")])
def test_a_pipeline_with_such_a_bucket_generates_nothing(environment: str, said: str, tmp_path: Path) -> None:
    folder = roots.shop(environment, tmp_path / "shop")
    flow = (folder / "flow.py").read_text()
    (folder / "flow.py").write_text(flow.replace('bucket="curated"', 'bucket="Curated_Data"'))
    with pytest.raises(ConfigurationError, match=f"'Curated_Data' is no name for .*{said}.*\n.*bucket_prefix"):
        roots.generated(folder)
    assert not os.path.exists(folder / ".glacier")
