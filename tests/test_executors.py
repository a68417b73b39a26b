"""The contract of executors: this process, processes and Ray select the same, bit by bit."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import threading
from pathlib import Path

import pytest
from fake_runs import TASKS, compare_file
from tiny_encoders import save_tiny_encoder
from tiny_runs import run_command, write_run_file
from worker_runs import WorkersHost, made_by, ran, run_file_of, without_times

from gradts_plugin.comparison.compare import compare, of_all_tasks
from gradts_plugin.engine.jobs import Job, TrialRequest
from gradts_plugin.errors import ConfigError, HostError, StoreError, TrainingError
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.testing.fake_host import WEIGHTS_FILE, FakeHost
from gradts_plugin.testing.fake_opening import FakeHostPlugin
from gradts_plugin.workers import worker
from gradts_plugin.workers.making import executor_of
from gradts_plugin.workers.worker import LOGS

without_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="the package ray is not installed"
)

KINDS = {
    "local": None,
    "processes": {"kind": "processes", "jobs": 2, "threads": 1},
    "ray": {"kind": "ray", "jobs": 2, "gpus_per_job": 0},
}

#: Those of them that have workers.
WITH_WORKERS = [
    pytest.param(kind, marks=[without_ray] if kind == "ray" else [])
    for kind, executor in KINDS.items()
    if executor
]

ALL_KINDS = ["local", *WITH_WORKERS]

#: A Ray takes seconds for what processes do at once: that the answer is the same is tried always,
#: the rest with the slow tests.
SELDOM = [
    pytest.param(kind, marks=[without_ray, pytest.mark.slow] if kind == "ray" else [])
    for kind, executor in KINDS.items()
    if executor
]


@pytest.fixture(scope="module")
def cluster():
    """A small Ray with a GPU, in its books at least; runs join and leave it."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        here = Path(__file__).parent
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent)]))
        small = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
        try:
            ray.init(address="local", num_cpus=2, num_gpus=1, log_to_driver=False, **small)
        except Exception as error:  # Ray raises no class of its own
            ray.shutdown()
            pytest.skip(f"Ray does not start here, which has 30 s for it: {error}")
    yield ray
    ray.shutdown()


@pytest.fixture
def executor(request):
    """Who makes what a run needs: None, or settings."""
    if request.param == "ray":
        request.getfixturevalue("cluster")
    return KINDS[request.param]


of_all = pytest.mark.parametrize("executor", ALL_KINDS, indirect=True)
of_workers = pytest.mark.parametrize("executor", SELDOM, indirect=True)


def logs_of(folder):
    return {path.name: path.read_text() for path in (folder / "out" / LOGS).glob("*.log")}


# --- the same answer ------------------------------------------------------------------------------

TRIAL = {"method": {"name": "trial", "patience": 1}, "training_seeds": 2}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("alone"), training_seeds=2)


@of_all
def test_the_same_is_selected_bit_by_bit(tmp_path, executor, alone):
    host = WorkersHost(TASKS, folder=tmp_path)
    found = ran(tmp_path / "run", executor, host=host, training_seeds=2)
    assert without_times(found) == without_times(alone)
    by = made_by(tmp_path)
    assert found.done.training_runs == sum(by.values())
    assert (os.getpid() in by) == (executor is None)  # who asks makes nothing itself
    left = {path.parent for path in (tmp_path / "run").rglob(WEIGHTS_FILE)}
    assert left == {path.parent for path in found.weights}


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("tried"), **TRIAL)


@of_workers
def test_trial_speculates_and_selects_as_if_it_had_not(tmp_path, executor, tried):
    wide = {**executor, "jobs": 5}
    host = WorkersHost(TASKS, folder=tmp_path)
    found = ran(tmp_path / "run", wide, host=host, **TRIAL)
    made, needed = without_times(found).pop("done"), without_times(tried).pop("done")
    assert {**without_times(found), "done": None} == {**without_times(tried), "done": None}
    assert found.cost.num_steps == tried.cost.num_steps  # of what was asked for
    assert made["training_runs"] == sum(made_by(tmp_path).values())  # of what was made
    assert made["training_runs"] > needed["training_runs"]
    left = {path.parent for path in (tmp_path / "run").rglob(WEIGHTS_FILE)}
    assert left == {path.parent for path in found.weights}


@of_workers
def test_autosem_is_one_job_and_then_mixtures(tmp_path, executor):
    method = {"name": "autosem", "rounds": 8, "steps_per_round": 2, "trials": 3, "top_k": 2}
    expected = ran(tmp_path / "alone", method=method)
    host = WorkersHost(TASKS, folder=tmp_path)
    found = ran(tmp_path / "run", executor, host=host, method=method)
    assert without_times(found) == without_times(expected)
    assert os.getpid() not in made_by(tmp_path)


@of_workers
def test_a_comparison_goes_through_workers(tmp_path, executor):
    methods = {"all": {"method": "all"}, "trial": {"method": "trial"}, "thres": {"method": "thres"}}
    given = {"primaries": ["goal", "ending"], "methods": methods, "evaluation_seeds": 2}
    expected = compare(
        compare_file(tmp_path / "one", **given),
        make_plugin_manager([FakeHostPlugin(FakeHost(TASKS))], entry_points=False),
    )
    plugin = FakeHostPlugin(WorkersHost(TASKS, folder=tmp_path))
    file = compare_file(tmp_path / "other", **given, executor=executor)
    found = compare(
        file,
        make_plugin_manager([plugin], entry_points=False),
        executor=executor_of(of_all_tasks(file), [plugin]),
    )
    for primary, result in expected.primaries.items():
        other = found.primaries[primary]
        assert [each.scores for each in other.subsets] == [each.scores for each in result.subsets]
        for name, method in result.methods.items():
            assert [each.scores for each in other.methods[name].selection.trials] == [
                each.scores for each in method.selection.trials
            ]
            assert other.methods[name].selection.reason == method.selection.reason
            assert other.methods[name].cost.num_steps == method.cost.num_steps
    assert os.getpid() not in made_by(tmp_path)


@of_workers
def test_what_jobs_did_comes_in_their_order(tmp_path, executor):
    """The first one takes longest."""
    run_file = run_file_of(tmp_path / "run", executor)
    plugin = FakeHostPlugin(WorkersHost(TASKS, folder=tmp_path, waits=(1.0,)))
    manager = make_plugin_manager([plugin], entry_points=False)
    with open_run_file(run_file, manager, executor=executor_of(run_file, [plugin])) as engine:
        session = engine.session
        works = [((), 1), (("related",), 2), (("words",), 3), (("degree",), 4)]
        jobs = [
            Job(session.settings, session.output_dir, TrialRequest(names, range(number)))
            for names, number in works
        ]
        done = list(session.executor.make(jobs))
    assert [counters.training_runs for counters in done] == [1, 2, 3, 4]


# --- failures -------------------------------------------------------------------------------------


@of_workers
def test_a_worker_that_is_killed_costs_its_job(tmp_path, executor, alone):
    host = WorkersHost(TASKS, folder=tmp_path, dies=3)
    found = ran(tmp_path / "run", executor, host=host, training_seeds=2)
    assert without_times(found) == without_times(alone)
    assert len(list(tmp_path.glob("died-*"))) == 3


@of_workers
def test_workers_that_are_lost_again_and_again_end_the_run(tmp_path, executor):
    host = WorkersHost(TASKS, folder=tmp_path, dies=100)
    with pytest.raises(HostError, match="workers died 3 times over the training of goal"):
        ran(tmp_path / "run", executor, host=host)
    assert len(list(tmp_path.glob("died-*"))) <= 6


@of_all
def test_a_job_that_fails_for_its_own_reason_ends_the_run(tmp_path, executor):
    """With its line, once; its output and traceback are in a file of its own, and at the caller."""
    host = WorkersHost(TASKS, folder=tmp_path, fails=1)
    method = {"method": {"name": "trial", "patience": 5}}
    with pytest.raises(TrainingError, match=r"the loss of .* is NaN in step 3") as raised:
        ran(tmp_path / "run", executor, host=host, **method)
    if executor is None:
        return
    failed = [text for text in logs_of(tmp_path / "run").values() if "Traceback" in text]
    (text,) = failed
    assert "what jiant says before it fails" in text
    assert "in train\n" in text
    assert "in train\n" in str(raised.value.__cause__)
    assert f"(in a worker on {os.uname().nodename}; its log: " in str(raised.value)


@of_workers
def test_jobs_before_the_one_that_fails_are_finished(tmp_path, executor):
    host = WorkersHost(TASKS, folder=tmp_path, fails=1, waits=(1.0,))
    with pytest.raises(TrainingError, match="is NaN"):
        ran(tmp_path / "run", executor, host=host, method="trial")
    stored = list((tmp_path / "run" / "out" / "store" / "trainings").rglob("*.json"))
    assert len(stored) >= 1
    host = WorkersHost(TASKS, folder=tmp_path / "again")
    (tmp_path / "again").mkdir()
    ran(tmp_path / "run", None, host=host, method="trial")  # goes on
    assert not list((tmp_path / "again").glob("*-alone-0-4"))


class FullDiskHost(FakeHost):
    """Its disk is full in workers."""

    def train(self, plan, output_dir, schedule=None):
        raise OSError(28, "No space left on device", str(output_dir / "weights.p"))


@of_workers
def test_a_full_disk_of_one_node_is_said_in_one_line(tmp_path, executor):
    with pytest.raises(StoreError, match=r"cannot write .*weights\.p: the disk is full \(in a wor"):
        ran(tmp_path, executor, host=FullDiskHost(TASKS))


@of_workers
def test_another_version_on_a_node_is_refused(tmp_path, executor, monkeypatch):
    run_file = run_file_of(tmp_path, executor)
    other = {**worker.versions(), "torch": "9.9"}
    start = functools.partial(worker.Start, versions=other)
    monkeypatch.setattr("gradts_plugin.workers.making.Start", start)
    plugin = FakeHostPlugin(FakeHost(TASKS))
    manager = make_plugin_manager([plugin], entry_points=False)
    with (
        pytest.raises(HostError, match=r"has torch .*, and the run was started with 9\.9: install"),
        open_run_file(run_file, manager, executor=executor_of(run_file, [plugin])) as engine,
    ):
        engine.probes.of_tasks()


@of_workers
def test_a_folder_that_workers_do_not_see_is_refused(tmp_path, executor):
    run_file = run_file_of(tmp_path, executor)
    plugin = FakeHostPlugin(FakeHost(TASKS))
    manager = make_plugin_manager([plugin], entry_points=False)
    elsewhere = run_file.model_copy(update={"output_dir": tmp_path / "elsewhere"})
    with (
        pytest.raises(HostError, match=r"does not see the run in .*elsewhere: every node needs"),
        open_run_file(run_file, manager, executor=executor_of(elsewhere, [plugin])) as engine,
    ):
        engine.probes.of_tasks()


@of_workers
def test_an_interrupted_run_ends_its_workers_and_goes_on(tmp_path, executor, alone):
    host = WorkersHost(TASKS, folder=tmp_path, waits=(0.0, 30.0, 30.0, 30.0, 30.0))

    def interrupt():
        while not list(tmp_path.glob("[0-9]*-*-*")):
            interrupted.wait(0.05)
        import _thread

        _thread.interrupt_main()

    interrupted = threading.Event()
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path / "run", executor, host=host, training_seeds=2)
    found = ran(tmp_path / "run", executor, training_seeds=2)
    assert found.selection.auxiliary_tasks == alone.selection.auxiliary_tasks


# --- Ray ------------------------------------------------------------------------------------------


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ConfigError, match=r"needs the package ray; type: pip install 'gradts-plu"):
        ran(tmp_path, KINDS["ray"])


@without_ray
def test_an_address_where_nobody_answers_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    executor = {"kind": "ray", "address": "127.0.0.1:9"}
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at '127\.0\.0\.1:9'.*ray start"):
        assert executor_of(run_file_of(tmp_path, executor)).num_workers


@without_ray
def test_a_job_that_no_node_has_room_for_is_refused(tmp_path, cluster):
    executor = {"kind": "ray", "cpus_per_job": 64, "gpus_per_job": 0.5}
    with pytest.raises(
        ConfigError, match=r"has 64 CPUs and 0\.5 GPUs for a job; at most a node has 2 CPUs and 1 "
    ):
        assert executor_of(run_file_of(tmp_path, executor)).num_workers


@without_ray
def test_as_many_jobs_as_the_cluster_has_room_for(tmp_path, cluster):
    executor = executor_of(run_file_of(tmp_path, {"kind": "ray", "gpus_per_job": 0}))
    assert executor.num_workers == 2
    assert (
        executor.shown == "2 jobs at a time in workers of a Ray cluster, each with 1 CPU, 1 thread"
    )


class DeviceHost(WorkersHost):
    """Says which device each process sees."""

    def train(self, plan, output_dir, schedule=None):
        device = os.environ["CUDA_VISIBLE_DEVICES"]
        (self.folder / f"device-{device}-{os.getpid()}-{plan.seed}").touch()
        return super().train(plan, output_dir, schedule)


@pytest.mark.slow
@without_ray
@pytest.mark.parametrize("share", [0.5, 0])
def test_a_job_sees_its_gpu_and_no_other_job_has_its_process(tmp_path, cluster, share):
    executor = {"kind": "ray", "gpus_per_job": share}
    training = {"max_steps": 4, "exposure": "total"}  # of one length
    given = {"method": "alone", "training_seeds": 3, "training": training}
    ran(tmp_path / "run", executor, host=DeviceHost(TASKS, folder=tmp_path), **given)
    seen = [path.name.split("-")[1:3] for path in tmp_path.glob("device-*")]
    assert len(seen) == 3
    assert {device for device, _ in seen} == ({"0"} if share else {""})
    assert len({process for _, process in seen}) == (3 if share else 2)


def test_an_address_of_rays_client_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="start the run on a node of the cluster"):
        run_file_of(tmp_path, {"kind": "ray", "address": "ray://head:10001"})


# --- on jiant -------------------------------------------------------------------------------------


def jiant_run(folder, executor):
    """A run over tiny tasks of every kind, each tokenised by a worker."""
    encoder = folder.parent / "encoder"
    if not encoder.exists():
        save_tiny_encoder("bert", encoder)
    given = {"method": "trial", "score_test": True, "training_seeds": 2}
    path = write_run_file(folder, encoder, **given, **({"executor": executor} if executor else {}))
    command = run_command("run", "--json", path)
    assert command.code == 0, command.err
    found = json.loads(command.out)
    logs = [json.loads(line) for line in (folder / "out" / "logs.jsonl").read_text().splitlines()]
    told = [
        (event["task"], event["num_train"], event["reused"])
        for event in logs
        if event["event"] == "after_task_prepared"
    ]
    return found, told


def scores_in(outcome):
    trials = [*outcome["selection"]["trials"], outcome["selected"], outcome["alone"]]
    return [(each["auxiliary_tasks"], each["scores"], each["test_scores"]) for each in trials]


@pytest.mark.slow
@of_workers
@pytest.mark.usefixtures("without_pages")
def test_jiant_selects_the_same_bit_by_bit(tmp_path, executor):
    expected, told = jiant_run(tmp_path / "alone", None)
    found, told_too = jiant_run(tmp_path / "run", executor)
    assert told_too == told
    assert found["ranking"] == expected["ranking"]
    for both in zip(scores_in(found), scores_in(expected), strict=True):
        assert both[0] == both[1]
    names = [path.name.split("-", 1)[1] for path in (tmp_path / "run/out" / LOGS).iterdir()]
    assert {"data-topic.log", "probe-match-0.log", "training-topic+0-1.log"} <= set(names)
