"""The twin of `three_glacier.py`, as it is written for Prefect."""

from prefect import flow, task


@task
def one() -> int:
    return 1


@task
def double(number: int) -> int:
    return 2 * number


@task
def add(first: int, second: int) -> int:
    return first + second


@flow
def three():
    number = one()
    return add(number, double(number))


if __name__ == "__main__":
    assert three() == 3
