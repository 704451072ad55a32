"""The action's one comment on a pull request, on a GitHub that answers as the true one does, faults included."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from action.github_api import Api, ApiError
from tests.action.github import Fault, GitHub, Token, running

KEY = "<!-- glacier/deploy?environment=prod&directory=. -->"
SHA = "a" * 40


@pytest.fixture(scope="module")
def server() -> Iterator[GitHub]:
    with running() as server:
        yield server


@pytest.fixture
def github(server: GitHub) -> GitHub:
    server.tokens = {"job-token": Token()}
    server.pulls.clear(), server.comments.clear(), server.faults.clear(), server.requests.clear()
    server.before = lambda method, path: None
    server.open_pull(42)
    return server


class Waits(list[float]):
    """Pauses that were asked for, none of which is waited."""

    @property
    def asked(self) -> list[int]:
        return [round(each) for each in self]


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def api(github: GitHub, waits: Waits) -> Api:
    return make(github, waits)


def make(github: GitHub, waits: Waits, token: str = "job-token", **given: Any) -> Api:
    return Api(token, github.repository, github.url, sleep=waits.append, **given)


def bodies(github: GitHub) -> list[str]:
    return [each["body"] for each in github.of(42)]


def test_a_comment_is_created_once_and_then_updated_in_place(github: GitHub, api: Api) -> None:
    url = api.upsert_comment(42, f"{KEY}\nfirst")
    assert api.upsert_comment(42, f"{KEY}\nsecond") == url
    assert bodies(github) == [f"{KEY}\nsecond"]
    assert api.upsert_comment(42, f"{KEY}\nsecond") == url
    assert (github.count("POST"), github.count("PATCH")) == (2, 1)  # one of the two asks who the token is
    found = api.comment_of(42, KEY)
    assert found is not None
    assert found.body == f"{KEY}\nsecond"


def test_comments_of_others_are_left_alone_even_if_they_begin_in_the_same_way(github: GitHub, api: Api) -> None:
    for number in range(150):
        github.add_comment(42, f"looks good {number}", login="ada")
    github.add_comment(42, f"{KEY}\n<!-- glacier/digest=forged -->", login="mallory")
    github.add_comment(42, f"> {KEY}\nquoted by a bot")
    github.add_comment(42, f"{KEY.replace('prod', 'dev')}\nanother environment's")
    before = bodies(github)
    assert api.comment_of(42, KEY) is None
    api.upsert_comment(42, f"{KEY}\nours")
    assert bodies(github) == [*before, f"{KEY}\nours"]
    for number in range(100):
        github.add_comment(42, f"too late {number}", login="ada")
    api.upsert_comment(42, f"{KEY}\nours again")
    assert bodies(github)[len(before)] == f"{KEY}\nours again"
    assert any("page=3" in path for _, path in github.requests)


def test_a_comment_that_was_edited_in_the_browser_is_found(github: GitHub, api: Api) -> None:
    github.add_comment(42, f"{KEY}\r\n<!-- glacier/digest=abc -->\r\nold")
    found = api.comment_of(42, KEY)
    assert found is not None
    assert found.body.splitlines()[1] == "<!-- glacier/digest=abc -->"


@pytest.mark.parametrize("attempt", range(3))
def test_two_jobs_that_race_leave_one_comment(github: GitHub, attempt: int) -> None:
    both = threading.Barrier(2)

    def meet(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/comments"):
            both.wait(5)  # so both have looked, and neither has found one

    github.before = meet
    jobs = [
        threading.Thread(target=Api("job-token", "acme/shop", github.url).upsert_comment, args=(42, f"{KEY}\n{name}"))
        for name in ("one", "two")
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(20)
    assert len(bodies(github)) == 1
    assert bodies(github)[0] in (f"{KEY}\none", f"{KEY}\ntwo")
    assert github.count("DELETE") >= 1


def test_servers_that_fail_for_a_moment_are_asked_again_ever_more_slowly(
    github: GitHub, api: Api, waits: Waits
) -> None:
    github.faults.extend([Fault(status=500), Fault(status=0), Fault(status=503, message="<html>down</html>")])
    api.upsert_comment(42, f"{KEY}\nhere")
    assert bodies(github) == [f"{KEY}\nhere"]
    assert len(waits) == 3
    assert waits[0] < waits[1] < waits[2]


@pytest.mark.parametrize("status", [0, 502])
def test_a_comment_whose_answer_got_lost_is_not_created_twice(github: GitHub, api: Api, status: int) -> None:
    api.comment_of(42, KEY)
    github.add_comment(42, f"{KEY}\nmakes the token known")
    api.comment_of(42, KEY)
    github.comments.clear()
    github.faults.append(Fault(method="POST", status=status, after=True))
    api.upsert_comment(42, f"{KEY}\nonce")
    assert bodies(github) == [f"{KEY}\nonce"]
    assert len([path for method, path in github.requests if method == "POST" and path.endswith("comments")]) == 1


def test_a_server_that_stays_down_is_an_error_that_says_so(github: GitHub, api: Api) -> None:
    github.faults.extend([Fault(status=502)] * 6)
    with pytest.raises(ApiError, match=r"GitHub answered 502 to GET /repos/acme/shop/issues/42/comments: Server Error"):
        api.comment_of(42, KEY)
    unreachable = Api("job-token", "acme/shop", "http://127.0.0.1:9", sleep=lambda seconds: None)
    with pytest.raises(ApiError, match=r"GitHub at http://127.0.0.1:9 does not answer: .*refused"):
        unreachable.comment_of(42, KEY)


def test_rate_limits_are_waited_for_as_long_as_github_says(github: GitHub, waits: Waits) -> None:
    now = 1_800_000_000.0
    api = make(github, waits, clock=lambda: now)
    secondary = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
    spent = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(now) + 20)}
    github.faults.extend(
        [
            Fault(method="GET", status=403, message="API rate limit exceeded for installation.", headers=spent),
            Fault(method="GET", status=429, message=secondary, headers={"Retry-After": "30"}),
            Fault(method="POST", status=403, message=secondary),
            Fault(method="POST", status=403, message=secondary),
        ]
    )
    api.upsert_comment(42, f"{KEY}\nat last")
    assert waits.asked == [21, 30, 60, 120]
    assert bodies(github) == [f"{KEY}\nat last"]


def test_a_rate_limit_that_takes_too_long_is_an_error_without_waiting(github: GitHub, api: Api, waits: Waits) -> None:
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 3000)}
    github.faults.append(Fault(status=403, message="API rate limit exceeded", headers=reset))
    with pytest.raises(ApiError, match=r"API rate limit exceeded\nHint: it has to be waited (299|300)\d s more"):
        api.upsert_comment(42, f"{KEY}\nnever")
    assert waits == []
    assert github.of(42) == []


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("ghs_wrong", "answered 401 .*Bad credentials\nHint: the input github-token is not"),
        ("ghs_reads", "answered 403 .*Resource not accessible by integration\nHint: .*pull-requests: write"),
    ],
)
def test_a_token_that_may_not_is_an_error_with_the_fix_and_without_the_token(
    github: GitHub, waits: Waits, token: str, message: str
) -> None:
    github.tokens["ghs_reads"] = Token(writes=False)
    with pytest.raises(ApiError, match=message) as caught:
        make(github, waits, token).upsert_comment(42, f"{KEY}\nno")
    assert token not in str(caught.value)
    assert waits == []


def test_a_comment_that_is_too_long_is_refused_by_github_with_its_reason(github: GitHub, api: Api) -> None:
    api.upsert_comment(42, f"{KEY}\n".ljust(65_536, "x"))
    with pytest.raises(
        ApiError, match=r"Validation Failed. Body is too long \(maximum is 65536 characters\)"
    ) as caught:
        api.upsert_comment(42, f"{KEY}\n".ljust(65_537, "x"))
    assert caught.value.status == 422


def test_a_redirect_is_not_followed_since_the_token_would_go_along(github: GitHub, api: Api) -> None:
    github.faults.append(Fault(status=301, message="Moved Permanently", headers={"Location": "http://127.0.0.1:9/"}))
    with pytest.raises(ApiError, match=r"answered 301 .*\nHint: the repository was renamed or moved"):
        api.comment_of(42, KEY)


def test_a_users_own_token_comments_as_that_user(github: GitHub, waits: Waits) -> None:
    github.tokens["own"] = Token(login="grace", installation=False)
    github.add_comment(42, f"{KEY}\nthe job's")
    api = make(github, waits, "own")
    api.upsert_comment(42, f"{KEY}\ngrace's")
    api.upsert_comment(42, f"{KEY}\ngrace's again")
    assert bodies(github) == [f"{KEY}\nthe job's", f"{KEY}\ngrace's again"]


def test_the_pull_request_of_a_merge_is_found_and_a_pushed_commit_has_none(github: GitHub, api: Api) -> None:
    assert api.pull_of_commit(SHA) is None
    github.merge_pull(42, SHA)
    github.open_pull(43)
    github.pulls[43]["merge_commit_sha"] = "b" * 40  # GitHub's trial merge of an open one
    assert api.pull_of_commit(SHA) == 42
    assert api.pull_of_commit("b" * 40) is None
