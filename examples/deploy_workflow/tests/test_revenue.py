"""A task is a function: a call outside of a pipeline just runs it."""

import polars as pl
from polars.testing import assert_frame_equal

from flows.revenue import by_customer


def test_the_revenue_of_a_customer_is_the_sum_of_its_orders():
    orders = pl.LazyFrame({"customer": ["ada", "grace", "ada"], "amount": [10.0, 7.25, 5.5]})
    expected = pl.DataFrame({"customer": ["ada", "grace"], "revenue": [15.5, 7.25]})
    assert_frame_equal(by_customer(orders).collect(), expected)
