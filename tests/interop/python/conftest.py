"""`stack`: one for all tests of a file."""

from collections.abc import Iterator

import pytest

from support.stack import Stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(agentds=2) as up:
        yield up
