"""jiant's own tests, as its wheel brings them, pass under our layer."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("jiant")

#: Files that its tests read and the wheel lacks, as they must be for what is asserted of them.
MISSING = {
    "empty.json": {},
    "simple.json": {"str_attr": "hello", "int_default_attr": 3},
    "store_true.json": {"store_true_attr": True},
    "store_true_false.json": {"store_true_attr": False},
}

#: What cannot be run without a network -> why.
LEFT_OUT = {
    "test_config_handlers.py": "needs jsonnet, which jiant's phases never import",
    "test_md5_checksum": "of a file that the wheel lacks",
    "test_space_tokenization_tokenization_normalization": "vocabularies of the hub",
    "test_space_tokenization_and_unusual_roberta": "a vocabulary of the hub",
}

#: How many tests the wheel has, without those of `jsonnet`, and how many of them are left out.
NUM_TESTS, NUM_LEFT_OUT = 84, 8


@pytest.fixture
def own_tests(tmp_path):
    """jiant's tests, with the files that the wheel lacks."""
    files = importlib.metadata.files("jiant") or ()
    found = [file for file in files if file.parts[0] == "tests"]
    if not found:
        pytest.skip("this jiant was installed without its tests")
    for file in found:
        place = tmp_path / Path(*file.parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(file.locate()), place)
    jsons = tmp_path / "tests" / "test_zconf" / "jsons"
    jsons.mkdir()
    for name, values in MISSING.items():
        (jsons / name).write_text(json.dumps(values))
    return tmp_path / "tests"


@pytest.mark.slow
def test_they_pass_with_the_mends(own_tests, tmp_path):
    main = "from gradts_plugin.commands.start import main; main()"
    results = tmp_path / "results.xml"
    unwanted = " or ".join(name.removesuffix(".py") for name in LEFT_OUT)
    pytest_arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null"]
    pytest_arguments += ["--rootdir", str(own_tests), f"--junitxml={results}"]
    pytest_arguments += ["--ignore", str(own_tests / "utils" / "test_config_handlers.py")]
    done = subprocess.run(
        [sys.executable, "-c", main, "host", *pytest_arguments, "-k", f"not ({unwanted})", "."],
        cwd=own_tests,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (suite,) = ElementTree.parse(results).getroot().iter("testsuite")
    assert int(suite.attrib["tests"]) == NUM_TESTS - NUM_LEFT_OUT
    assert (suite.attrib["failures"], suite.attrib["errors"]) == ("0", "0")
