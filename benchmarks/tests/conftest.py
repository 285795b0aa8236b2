"""The fixtures of the project's tests."""

from tests.conftest import cache, prepared, pytest_configure, pytest_unconfigure, server

__all__ = ["cache", "prepared", "pytest_configure", "pytest_unconfigure", "server"]
