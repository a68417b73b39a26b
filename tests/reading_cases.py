"""What tests of readers share."""

from __future__ import annotations

import pytest

from gradts_plugin.errors import ConfigError, DataError
from gradts_plugin.tasks.reading import read_examples


def problem(config, folder, split="train"):
    """What is said of data that is refused, in one line, without the folder."""
    with pytest.raises((DataError, ConfigError)) as caught:
        read_examples(config, split, folder)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}/")
