"""What every flow over Polars has to load."""

import polars  # noqa: F401
import prefect  # noqa: F401
