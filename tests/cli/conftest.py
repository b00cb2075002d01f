"""The fixture `refused`, which runs a command line that must fail and returns its message."""

from collections.abc import Callable
from functools import partial

import pytest
import softgate_command


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one sentence that a command line ends with."""
    return partial(softgate_command.refused, capsys)
