"""The command line as a program: help, exit codes, JSON on stdout, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from tiny_encoders import save_tiny_encoder
from tiny_runs import run_command, write_run_file

from gradts_plugin import __version__, doctor
from gradts_plugin.commands import main

pytestmark = pytest.mark.usefixtures("without_pages")


@pytest.fixture(scope="module")
def run_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    encoder = save_tiny_encoder("bert", folder / "encoder")
    return write_run_file(folder, encoder, tasks=("topic", "match"))


def test_version():
    answer = run_command("--version")
    assert (answer.code, answer.out.strip()) == (0, f"gradts-plugin {__version__}")


def test_help_names_every_command():
    answer = run_command("--help")
    assert answer.code == 0
    for name, (_, text) in main.COMMANDS.items():
        assert f"  {name} " in answer.out
        assert text in " ".join(answer.out.split())


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_help(name):
    answer = run_command(name, "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"Usage: gradts-select {name}")
    assert main.COMMANDS[name][1] in " ".join(answer.out.split())


def test_main_exits_with_the_code_of_the_command():
    with pytest.raises(SystemExit) as leaving:
        main.main(["run", "no-such-file.yaml"])
    assert leaving.value.code == 2


@pytest.mark.parametrize(("usable", "code"), [(True, 0), (False, 1)])
def test_doctor_exits_with_zero_where_the_host_is_usable(monkeypatch, usable, code):
    diagnosis = doctor.diagnose()
    monkeypatch.setattr(doctor.Diagnosis, "usable", property(lambda self: usable))
    monkeypatch.setattr(doctor, "diagnose", lambda: diagnosis)
    answer = run_command("doctor")
    assert answer.code == code
    assert "jiant" in answer.out


def test_json_on_stdout_progress_on_stderr(run_file):
    answer = run_command("run", run_file, "--json")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert result == json.loads((run_file.parent / "out" / "result.json").read_text())
    assert "load: topic: 16 training instances" in answer.err
    assert "probe: done in " in answer.err


def test_quiet_says_nothing_but_the_result(run_file):
    answer = run_command("run", "--quiet", "--json", run_file)
    assert answer.code == 0
    assert answer.err == ""
    assert json.loads(answer.out)["ranking"]["primary_task"] == "topic"


def test_a_run_file_may_have_any_name(run_file):
    renamed = run_file.with_name("my-run")
    renamed.write_bytes(run_file.read_bytes())
    assert run_command("run", renamed, "--quiet").code == 0


def test_ctrl_c_ends_a_real_process_cleanly_and_the_run_goes_on(run_file, tmp_path):
    long = run_file.with_name("long.yaml")
    text = run_file.read_text().replace("output_dir: out", f"output_dir: {tmp_path / 'out'}")
    # The first task is finished quickly, the second one never.
    long.write_text(text.replace("epochs: 1", "max_steps: 1"))
    slow = (
        "import signal, sys, time\n"
        # A shell without job control starts background processes that ignore Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from gradts_plugin import hookspecs, plugins\n"
        "from gradts_plugin.commands.main import main\n"
        "class Slow:\n"
        "    @hookspecs.hookimpl\n"
        "    def before_training(self, plan):\n"
        "        if plan.primary_task == 'match':\n"
        "            print('waiting', file=sys.stderr, flush=True)\n"
        "            time.sleep(600)\n"
        "make = plugins.make_plugin_manager\n"
        "def made(given=(), **options):\n"
        "    return make([*given, Slow()], **options)\n"
        "plugins.make_plugin_manager = made\n"
        "main(sys.argv[1:])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow, "run", str(long)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line == "waiting\n":
            process.send_signal(signal.SIGINT)
    process.wait()
    assert process.returncode == 130, lines
    assert process.stdout.read() == ""
    assert lines[-1].startswith("gradts-select: interrupted; what is finished is stored")
    assert not any("Traceback" in line for line in lines)
    answer = run_command("run", long, "--json", "--quiet")
    assert answer.code == 0, answer.err
    done = json.loads(answer.out)["done"]
    assert (done["probes"], done["probes_reused"]) == (1, 1)
