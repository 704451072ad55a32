"""S3 as a role sees it: what its policy does not allow is denied, and so is what is missing if it may not list all.

Which permission a call needs: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from glacier_prefect.emulators.forward import Forwarder, Server
from tests.policies.aws import allows
from tests.served import Served

DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
MULTIPART = {"POST": "s3:PutObject", "PUT": "s3:PutObject", "DELETE": "s3:AbortMultipartUpload"}
PLAIN = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject", "DELETE": "s3:DeleteObject"}


@dataclass(frozen=True)
class Asked:
    """A permission that a call needs."""

    action: str
    resource: str
    prefix: str | None = None


class RoleFront(Served, Server):
    """A front of the server with port `behind` for a role; runs while its `with` block does.

    Attributes:
        policy: The role's policy.
        denied: What it was not allowed.
    """

    def __init__(self, policy: Mapping[str, Any], *, behind: int) -> None:
        super().__init__(0, behind, _Connection)
        self.policy = policy
        self.denied: list[Asked] = []

    def allows(self, asked: Asked) -> bool:
        context = {} if asked.prefix is None else {"s3_prefix": asked.prefix}
        return allows(self.policy, asked.action, asked.resource, **context)


class _Connection(Forwarder):
    server: RoleFront

    def respond(self) -> None:
        body = b"".join(self.body)
        self.body = iter([body] if body else [])
        path, _, query = self.path.partition("?")
        bucket, _, key = urllib.parse.unquote(path).lstrip("/").partition("/")
        words = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        asked = list(self.asked(bucket, key, words, body))
        if missing := [each for each in asked if not self.server.allows(each)]:
            self.server.denied += missing
            return self.reply(403, {}, DENIED)
        with self.ask(self.command, self.path, self.passed_on(), self.body) as response:
            everything = Asked("s3:ListBucket", f"arn:aws:s3:::{bucket}")
            if response.status == 404 and key and not self.server.allows(everything):
                response.read()
                return self.reply(403, {}, DENIED)
            self.relay(response)

    def asked(self, bucket: str, key: str, words: Mapping[str, str], body: bytes) -> Iterator[Asked]:
        arn = f"arn:aws:s3:::{bucket}"
        if not key:
            if self.command == "POST" and "delete" in words:
                for each in re.findall(r"<Key>(.*?)</Key>", body.decode()):
                    yield Asked("s3:DeleteObject", f"{arn}/{each}")
            else:
                yield Asked("s3:ListBucket", arn, words.get("prefix", ""))
            return
        yield Asked((MULTIPART if {"uploads", "uploadId"} & words.keys() else PLAIN)[self.command], f"{arn}/{key}")
        if source := self.headers.get("x-amz-copy-source"):
            yield Asked("s3:GetObject", f"arn:aws:s3:::{urllib.parse.unquote(source).lstrip('/')}")
