"""A sample of the campaign of bad inputs (`benchmarks/bad_inputs.py`)."""

from __future__ import annotations

import pytest
from odd_cases import KINDS, cases, fake_host_offered, make_wholes, outcome

from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.report import writing

#: Of each kind; the campaign has more.
NUMBER = 8


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """What the cases break."""
    apply_mends()
    with fake_host_offered():
        yield make_wholes(tmp_path_factory.mktemp("wholes"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_told_in_a_line_and_leaves_nothing(kind, wholes, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "can_draw", lambda: False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    wrong = []
    for number, case in enumerate(cases(kind, wholes, NUMBER, seed=1)):
        (tmp_path / str(number)).mkdir()
        found = outcome(case, tmp_path / str(number))
        if not found.is_right:
            wrong.append(f"{case.name}: {found.what}: {found.detail}")
    assert wrong == []


def test_the_campaign_is_large():
    assert sum(number for _, number in KINDS.values()) >= 1500
