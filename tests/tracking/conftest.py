"""One MLflow server for all tests of tracking: starting it takes seconds."""

from collections.abc import Iterator

import pytest
from support.mlflow_server import MlflowServer


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[MlflowServer]:
    """A real MLflow server on this machine; a test that kills it starts it again."""
    with MlflowServer(tmp_path_factory.mktemp("server")) as server:
        yield server
