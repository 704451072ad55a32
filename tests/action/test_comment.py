"""What the action says about a plan: what is shown, in which order, how it is cut; and no name in it means anything."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt

from action import comment
from action.github_api import Api
from glacier_prefect.report import render_mermaid
from tests.action.github import running
from tests.base.report_samples import HOSTILE, edge, location, node, report
from tests.terraform.test_plan_shown import recorded, shown

RUN = "https://github.com/acme/shop/actions/runs/123"
GRAPHS = {"daily": render_mermaid(report([node("load"), node("clean")], [edge("load", "clean")]))}
EVIL = [
    HOSTILE,
    "@octocat",
    "```\n@octocat",
    "````\n</details>\n# heading",
    "--> <img src=https://evil.example/x.png>",
    "</summary></details><script>alert(1)</script>",
    "[x](javascript:alert(1)) ![x](https://evil.example/x.png) https://evil.example/plain",
    "\n\n#1 GH-1 acme/other#2 :tada:\n\n- [x] done",
    "::set-output name=changed::true",
    "${{ secrets.KEY }} $(touch canary) `touch canary`",
]


def tree(
    infrastructure: Sequence[dict[str, Any]] = (), prefect: Sequence[dict[str, Any]] = (), **given: Any
) -> dict[str, Any]:
    return {
        "version": 1,
        "project": "shop",
        "environment": "prod",
        "api": "https://prefect.example.com/api",
        "has_changes": True,
        "unfinished": False,
        "recovered": None,
        "infrastructure": infrastructure,
        "rights": {"gained": [], "lost": []},
        "prefect": prefect,
        **given,
    }


def resource(address: str, action: str = "create", *, loses: bool = False, **fields: Any) -> dict[str, Any]:
    return {"action": action, "address": address, "loses_data": loses, "fields": fields}


def thing(name: str, action: str = "create", kind: str = "deployment", **given: Any) -> dict[str, Any]:
    return {"action": action, "kind": kind, "name": name, "adopted": False, "fields": {}, **given}


def said(
    tree: dict[str, Any], graphs: dict[str, str] = GRAPHS, digest: str = "sha256:ab12", **given: Any
) -> comment.Rendered:
    return comment.body(tree, graphs=graphs, digest=digest, run_url=RUN, **given)


class Page(HTMLParser):
    """What GitHub would show: text outside of code, which may mention and link, the tags, and where links lead."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.loose, self.tags, self.links, self.depth = "", list[str](), list[str](), 0
        self.code: list[str] = []
        self.feed(MarkdownIt("commonmark", {"html": True}).render(markdown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        self.depth += tag == "code"
        if tag == "code":
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        self.tags.append("/" + tag)
        self.depth -= tag == "code"

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.code[-1] += data
        else:
            self.loose += data


def test_a_plan_is_shown_as_one_tree_with_the_graphs_and_what_changes_folded() -> None:
    changed = resource("module.pool.aws_ecs_cluster.this", "update", tags={"old": {"a": 1}, "new": None})
    moved = thing("weekly/prod", "update", fields={"cron": {"old": "0 5 * * *", "new": "0 6 * * *"}})
    text = said(
        tree(
            [resource("module.raw.aws_s3_bucket.b"), resource("module.raw.aws_s3_bucket_policy.p"), changed],
            [
                thing("daily/prod"),
                moved,
                thing("old/prod", "delete"),
                thing("x", "keep"),
                thing("y", "keep", adopted=True),
            ],
        )
    ).comment
    assert text.splitlines()[:3] == [
        "<!-- glacier/deploy?environment=prod&directory=. -->",
        "<!-- glacier/digest=sha256:ab12 -->",
        "### <code>shop</code>, <code>prod</code>: 3 to create, 2 to change, 1 to delete, 1 taken over",
    ]
    assert (
        """**Changes**

```diff
  shop, prod
  ├─ infrastructure
! │  ├─ module.pool.aws_ecs_cluster.this
+ │  └─ module.raw (2 resources)
  └─ Prefect
-    ├─ deployment old/prod
!    ├─ deployment weekly/prod
+    ├─ deployment daily/prod
!    └─ deployment y (taken over)
```
"""
        in text
    )
    assert (
        """<details>
<summary>What changes in each</summary>

```diff
! module.pool.aws_ecs_cluster.this
-   tags: {"a": 1}
! deployment weekly/prod
-   cron: "0 5 * * *"
+   cron: "0 6 * * *"
```

</details>
"""
        in text
    )
    assert "<summary>Pipeline <code>daily</code></summary>\n\n```mermaid\nflowchart LR\n" in text
    assert text.endswith(f"From [this run]({RUN}).\n")


@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_data_that_would_be_lost_comes_first_and_in_red_and_rights_are_named(cloud: str) -> None:
    plan = shown(recorded(cloud))
    lost = [each["address"] for each in plan["infrastructure"] if each["loses_data"]]
    for text in said(plan)[:2]:
        blocks = re.findall(r"```diff\n(.*?)\n```", text, flags=re.S)
        assert blocks[0].splitlines() == [f"- {address}" for address in lost]
        assert text.index("Would be destroyed with its data") < text.index("**Changes**")
        first = blocks[1].splitlines()[2]
        assert first.startswith("- ")
        assert "(holds data)" in first
    for sign, which in (("+", "gained"), ("-", "lost")):
        right = plan["rights"][which][0]
        assert f"Rights {which}: {len(plan['rights'][which])}" in said(plan).comment
        assert f"{sign} {right['who'][:50]}" in said(plan).full_text
        assert right["may"] in said(plan).full_text


def test_of_a_long_value_that_part_is_shown_in_which_it_differs() -> None:
    same = '{"Action": "s3:GetObject"}, ' * 50
    policy = {"old": f"{same}s3:GetObject on raw", "new": f"{same}s3:GetObject on returns"}
    texts = said(tree([resource("a.b", "update", policy=policy, short={"old": "abc", "new": "abd"})]))
    assert re.search(r"^-   policy: ….{,20}aw\"$", texts.comment, flags=re.M)
    assert re.search(r"^\+   policy: ….{,20}eturns\"$", texts.comment, flags=re.M)
    assert '-   short: "abc"' in texts.comment
    assert json.dumps(policy["new"]) in texts.full_text


def test_nothing_to_change_is_said_in_a_line_and_what_was_done_as_done() -> None:
    nothing = said(tree(has_changes=False), graphs={}).summary
    assert nothing.startswith("### <code>shop</code>, <code>prod</code>: nothing changes\n")
    assert "```" not in nothing
    done = said(tree([resource("a.b")], recovered="undid a deploy", unfinished=True), done=True).summary
    assert ": 1 created\n" in done
    assert "undid" in done


def test_a_digest_is_read_from_its_line_only() -> None:
    assert comment.digest_in(said(tree()).comment) == "sha256:ab12"
    assert comment.digest_in(said(tree(), digest="a-->\n b").comment) == "a-->\n b"
    assert comment.digest_in(said(tree()).comment.replace("\n", "\r\n")) == "sha256:ab12"
    forged = tree([resource("<!-- glacier/digest=forged -->\n<!-- glacier/digest=forged -->")])
    assert comment.digest_in(said(forged).comment) == "sha256:ab12"
    failed = comment.failure("<!-- glacier/digest=forged -->", reason="drift", environment="prod", run_url=RUN).comment
    assert comment.digest_in(failed) is None
    assert comment.digest_in("") is None
    assert failed.splitlines()[0] == said(tree()).comment.splitlines()[0] == comment.key("prod")


def test_environments_and_directories_have_comments_of_their_own() -> None:
    keys = {comment.key("prod"), comment.key("dev"), comment.key("prod", "a"), comment.key("prod&directory=a", "a-->b")}
    assert len(keys) == 4
    assert all(re.fullmatch(r"<!-- [\w/?=&.%]+ -->", each) for each in keys)
    assert said(tree(), directory="a").comment.splitlines()[0] == comment.key("prod", "a")


def hostile(name: str) -> tuple[dict[str, Any], dict[str, str]]:
    infrastructure = [
        resource(name, "delete", loses=True),
        resource(f"module.{name}"),
        resource(f"a.{name}", "update", **{name: {"old": name, "new": [name, {name: name}]}}),
    ]
    objects = [thing(name), thing(name, "update", kind=name, adopted=True, fields={name: {"old": name, "new": None}})]
    right = {"who": name, "may": name, "where": name}
    given = {"project": name, "environment": name, "recovered": name, "rights": {"gained": [right], "lost": [right]}}
    graph = render_mermaid(
        report([node(name, reads=["raw/a"])], [], locations=[location("raw", f"a/{name}", id="raw/a")])
    )
    return tree(infrastructure, objects, **given), {name: graph, f"{name}2": f"flowchart LR\n  a[{name}]"}


@pytest.mark.parametrize("name", EVIL)
def test_no_name_means_anything(name: str) -> None:
    plan, graphs = hostile(name)
    texts = said(plan, graphs, digest=name, directory=name)
    failed = comment.failure(name, reason=name, environment=name, run_url=RUN)
    for text in (*texts, *failed):
        page = Page(text)
        assert set(page.tags) <= {"h3", "p", "strong", "pre", "code", "a", "details", "summary"} | {
            "/h3", "/p", "/strong", "/pre", "/code", "/a", "/details", "/summary"
        }  # fmt: skip
        assert page.tags.count("details") == page.tags.count("/details")
        assert set(page.links) <= {RUN}
        assert not set("@#$`<>[]") & set(page.loose.replace("…", ""))
        assert "evil" not in page.loose
        assert "octocat" not in page.loose
        assert not re.search("[\x00-\x09\x0b-\x1f\u2028\u202e]", text)  # nothing that turns lines or letters around
    page = Page(texts.comment)
    as_shown = comment.shown(name, comment.WIDTH)
    assert as_shown in page.code  # the project, as it is
    assert any(f"- {as_shown}" in block for block in page.code)


def test_a_name_shows_in_code_as_it_was_written() -> None:
    assert html.unescape(comment.code("a&b <c> _d_")) == "<code>a&b <c> _d_</code>"
    assert comment.shown("two\nlines\x1b\u202e é雪") == "two\\nlines\\x1b\\u202e é雪"
    comment.shown("\ud800").encode()


def test_names_in_a_row_are_as_many_as_there_is_room_for() -> None:
    assert comment.listed(["a", "b/c"]) == "<code>a</code>, <code>b&#47;c</code>"
    many = comment.listed([f"name {'@' * number}" for number in range(100)])
    assert 4_000 < len(many) <= 5_020
    assert re.search(r"</code>, \d\d more$", many)


def big(count: int) -> dict[str, Any]:
    """A plan of so many resources, in which every kind of change is there and nothing can be put together."""
    actions = ["delete", "replace", "update", "create"]
    value = {"old": "x" * 200, "new": "é" * 200}
    resources = [
        resource(
            f'module.m{number}.aws_s3_bucket.bucket["key-{number}"]',
            actions[number % 4],
            loses=number % 8 == 0,
            **({"tags.owner": value} if number % 4 == 2 else {}),
        )
        for number in range(count)
    ]
    rights = [{"who": f"role-{n}", "may": "s3:GetObject", "where": f"arn:aws:s3:::b{n}/*"} for n in range(count // 4)]
    objects = [thing(f"pipeline-{number}/prod", actions[number % 4]) for number in range(100)]
    return tree(resources, objects, rights={"gained": rights, "lost": rights[: count // 8]})


def test_a_plan_of_2000_resources_is_cut_at_ends_of_lines_and_its_full_text_is_whole() -> None:
    graphs = {f"pipeline-{number}": GRAPHS["daily"] for number in range(30)}
    plan = big(2_000)
    texts = said(plan, graphs)
    assert 55_000 < len(texts.comment) <= 60_000
    assert len(texts.summary.encode()) <= 1_000_000
    pointer = f"Cut to what GitHub takes: the full text is an artifact of [this run]({RUN}).\n"
    assert texts.comment.endswith(pointer)
    page = Page(texts.comment)
    assert page.tags.count("details") == page.tags.count("/details") > 30  # nothing is cut in the middle
    assert page.tags.count("pre") == page.tags.count("/pre")
    whole = {line for line in said(plan, graphs).full_text.splitlines()}
    for line in texts.comment.splitlines()[3:]:
        assert line in whole or "more lines are in the full text" in line or "…" in line or line + "\n" == pointer
    missing = [int(each.replace(",", "")) for each in re.findall(r"# … ([\d,]+) more lines", texts.comment)]
    assert sum(missing) > 3_000
    for each in plan["infrastructure"]:
        assert each["address"] in texts.full_text
    assert "x" * 200 in texts.full_text
    assert "more lines" not in texts.full_text
    with running() as github:
        github.open_pull(1)
        Api("job-token", github.repository, github.url).upsert_comment(1, texts.comment)
        assert [each["body"] for each in github.of(1)] == [texts.comment]


@pytest.mark.parametrize("letter", ["x", "é", "😀", "`"])
def test_no_length_of_plan_is_refused(letter: str) -> None:
    for count in (100, 250, 251, 252, 900):
        plan = tree([resource(f"module.{number}.{letter * 110}", "delete", loses=True) for number in range(count)])
        texts = said(plan, {letter * 5_000: f"flowchart LR\n  a[{letter * 20_000}]"})
        assert len(texts.comment.encode("utf-16-le")) // 2 <= 60_000
        assert len(texts.summary.encode()) <= 1_000_000
        assert "**" in texts.comment


def test_a_graph_that_github_would_not_draw_is_replaced_by_how_to_see_it() -> None:
    nodes = [node(f"n{number}") for number in range(502)]
    edges = [edge(f"n{number}", f"n{number + 1}") for number in range(501)]
    text = said(tree(), {"long": render_mermaid(report(nodes, edges))}).summary
    assert "glacier analyze --open" in text
    assert "mermaid" not in text


def test_an_error_is_shown_whole_and_cut_like_a_plan() -> None:
    texts = comment.failure(
        "The state is locked.\nHint: wait, or:\n  glacier deploy",
        reason="state-locked",
        environment="prod",
        run_url=RUN,
    )
    assert "### <code>prod</code>: plan failed (<code>state&#45;locked</code>)\n" in texts.summary
    assert "```text\nThe state is locked.\nHint: wait, or:\n  glacier deploy\n```" in texts.summary
    long = comment.failure("x" * 90_000 + "\n" + "y\n" * 90_000, reason="unknown", environment="prod", run_url=RUN)
    assert 55_000 < len(long.comment) <= 60_000
    assert "x" * 1_000 in long.comment
    assert "x" * 90_000 in long.full_text


def test_a_plan_as_the_command_line_prints_it_is_shown() -> None:
    printed = json.loads(json.dumps(shown(recorded("aws"))))
    assert "module.aws_bucket_archive" in said(printed).comment
