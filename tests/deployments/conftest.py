"""A small project, for what is deployed to run."""

from tests.flows.conftest import preset  # noqa: F401 a fixture
