"""Names that clouds refuse, refused before anything runs, with the cloud's rule in its modules' words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from glacier_prefect.errors import ConfigurationError

Rule = tuple[str, bool, str]  # a pattern, whether a name has to fit it, and what is said of one that does not

_RULES: dict[str, tuple[Rule, ...]] = {
    "aws/identity": (
        (
            r"^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$",
            True,
            "IAM: a role's name has 64 letters, digits, - and _ at most; 14 of them are the module's.",
        ),
    ),
    "azure/identity": (
        (
            r"^[0-9A-Za-z][0-9A-Za-z_-]{1,100}$",
            True,
            "Azure takes an identity's name of letters, digits, hyphens and underscores, with a letter or digit first.",
        ),
    ),
    "aws/bucket": (
        (
            r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
            True,
            "S3: a bucket's name has 3 to 63 characters: small letters, digits, dots and hyphens, and begins and ends "
            "with a letter or digit.",
        ),
        (
            r"\.\.|^\d+\.\d+\.\d+\.\d+$",
            False,
            "S3: a bucket's name has no two dots in a row, and is not formatted as an IP address.",
        ),
        (
            r"^(xn--|sthree-|amzn-s3-demo-)|(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$",
            False,
            "S3: a bucket's name does not begin with xn--, sthree- or amzn-s3-demo-, nor end in -s3alias, --ol-s3, "
            ".mrap, --x-s3 or --table-s3.",
        ),
    ),
    "azure/bucket": (
        (
            r"^(?=.{3,63}$)[a-z0-9](-?[a-z0-9])+$",
            True,
            "Azure takes a container's name of 3 to 63 small letters, digits and single hyphens, with a letter or "
            "digit at both ends.",
        ),
    ),
    "azure/account": (
        (r"^[a-z0-9]{3,24}$", True, "Azure takes a storage account's name of 3 to 24 small letters and digits."),
    ),
    "gcp/bucket": (
        (
            r"^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$",
            True,
            "Google takes a bucket name of 3 to 63 characters: small letters a to z, digits, - and _, with a letter or "
            "digit at both ends. (It also takes dots, for a domain that you have proved to own; Glacier does not.)",
        ),
        (r"^goog|google", False, "Google takes no bucket name that begins with goog or contains google."),
    ),
}

RULES: Mapping[str, tuple[Rule, ...]] = {
    **_RULES,
    "aws/state": _RULES["aws/bucket"],
    "azure/state": _RULES["azure/account"],
    "gcp/state": _RULES["gcp/bucket"],
}


def check_name(module: str, name: str, hint: str) -> None:
    """Raise `ConfigurationError` for a name that a module's cloud would refuse.

    Args:
        module: As in "aws/bucket"; one without rules takes any name.
        name: The name.
        hint: What to do.
    """
    for pattern, fits, rule in RULES.get(module, ()):
        if bool(re.search(pattern, name, re.ASCII)) is not fits or name.endswith("\n"):
            raise ConfigurationError(f"{name!r} is no name for {module.replace('/', ' ')}. {rule}\nHint: {hint}")
