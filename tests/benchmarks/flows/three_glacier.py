"""Three trivial tasks under Glacier."""

from glacier_prefect import pipeline, task


@task
def one() -> int:
    return 1


@task
def double(number: int) -> int:
    return 2 * number


@task
def add(first: int, second: int) -> int:
    return first + second


@pipeline
def three():
    number = one()
    return add(number, double(number))


if __name__ == "__main__":
    assert three.run() == 3
