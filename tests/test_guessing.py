"""Files as people bring them are taken for the tasks that they are."""

from __future__ import annotations

import pytest
from test_layouts import LAYOUTS, written

from gradts_plugin.errors import LeftOutWarning
from gradts_plugin.tasks.reading import read_split, task_labels
from gradts_plugin.tasks.starting import configs
from gradts_plugin.tasks.starting.folders import FoundTask

#: Layouts that nothing in a file of two rows tells, and what they are taken for.
AMBIGUOUS = {
    "DBpedia csv with texts of several lines": "title and text are a pair, as in AG News",
    "GoEmotions tsv": "a cell holds several labels, a kind that there is not",
}


@pytest.mark.filterwarnings("ignore", category=LeftOutWarning)
@pytest.mark.parametrize("name", [name for name in LAYOUTS if name not in AMBIGUOUS])
def test_public_layouts_are_guessed(name, tmp_path):
    layout = LAYOUTS[name]
    right = written(tmp_path, layout)
    files = {
        split: tuple(tmp_path / path for path in right.paths.of(split))
        for split in ("train", "val", "test")
    }
    guessed = configs.guess_config(FoundTask("t", files))
    config = guessed.config
    assert (config.kind, task_labels(config, tmp_path)) == (right.kind, layout.labels)
    expected, found = (read_split(each, "train", tmp_path) for each in (right, config))
    assert found.examples == expected.examples
    assert len(found.unlabelled) == layout.left_out
