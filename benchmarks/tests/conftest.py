"""The fixtures of the project's tests."""

from tests.conftest import cache, make_spec, prepared, pytest_configure, pytest_unconfigure, server

__all__ = ["cache", "make_spec", "prepared", "pytest_configure", "pytest_unconfigure", "server"]
