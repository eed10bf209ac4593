"""The Ray engine: the same bytes as on this machine, a death costs one run, and nothing outlives its driver.

Run by `make test-ray`: Ray takes half a minute to start, and is an extra.
"""

import contextlib
import os
import signal
import sys

import pytest

from fewscans.errors import RunError
from fewscans.experiments.base import Run
from fewscans.store import Store
from fewscans.sweep import sweep
from fewscans.sweep.onerun import Context

from . import kill_sweep
from .test_engine import GRID, LONG, SHORT
from .test_sweep import SMALL, setting_of
from .toy import Inline

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of what it imports
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The project, and its sweep in this process, one run after the other."""
    pytest.importorskip("ray")
    room = tmp_path_factory.mktemp("reference")
    folder = kill_sweep.project(room / "project", SMALL)
    sweep.sweep(setting_of(folder, room / "store"), engine=Inline(), out=folder / "runs", show=False)
    return folder, kill_sweep.tables(folder), kill_sweep.results(room / "store")


@pytest.fixture
def engine(reference, monkeypatch):
    """Makes engines, which are closed after the test."""
    from fewscans.sweep.ray_engine import RayEngine

    monkeypatch.setenv("FEWSCANS_ROOT", str(reference[0]))
    with contextlib.ExitStack() as stack:
        yield lambda *given, **named: stack.enter_context(contextlib.closing(RayEngine(*given, **named)))


def actors(ray) -> list[int]:
    """The processes of this driver's actors."""
    from ray.util.state import list_actors

    return [actor.pid for actor in list_actors() if actor.state == "ALIVE"]


def test_the_command_gives_the_local_engine_s_bytes_and_leaves_nothing_running(reference, tmp_path):
    folder, tables, results = reference
    node = kill_sweep.Sweep(folder, tmp_path / "store", 2, ("--engine", "ray"), path()).start()
    assert node.finish() == 0, node.stderr
    assert kill_sweep.tables(folder) == tables and kill_sweep.results(tmp_path / "store") == results
    kill_sweep.wait_until(lambda: not node.processes())
    assert "Traceback" not in node.stderr


def path() -> dict[str, str]:
    """The library before all that this process finds Ray with."""
    return {"PYTHONPATH": os.pathsep.join((str(kill_sweep.LIBRARY), os.environ.get("PYTHONPATH", "")))}


def trains(node) -> bool:
    return any(node.store.glob("*.checkpoint"))


def starts(node) -> bool:
    """Ray's first process is there, before a driver can join it."""
    return any(b"gcs_server" in kill_sweep._read(pid, "cmdline") for pid in node.processes())


@pytest.mark.parametrize("blow, moment", [("SIGKILL", trains), ("SIGTERM", trains), ("SIGTERM", starts)])
def test_a_driver_that_is_killed_or_told_to_stop_leaves_nothing_running(reference, tmp_path, blow, moment):
    folder, tables, results = reference
    node = kill_sweep.Sweep(folder, tmp_path / "store", 1, ("--engine", "ray"), path()).start()
    kill_sweep.wait_until(lambda: moment(node) or node.process.poll() is not None)
    node.process.send_signal(signal.Signals[blow])
    if blow == "SIGTERM":
        assert node.finish() == 75, node.stderr
        assert node.stderr.startswith("fewscans: told to stop by SIGTERM;") and "Traceback" not in node.stderr
        assert not any(Store(node.store).held(path.stem) for path in node.store.glob("*.lock"))
    else:
        node.kill()
    kill_sweep.wait_until(lambda: not node.processes())
    last = kill_sweep.Sweep(folder, tmp_path / "store", 1, environment=path()).start()
    assert last.finish() == 0, last.stderr
    assert kill_sweep.tables(folder) == tables and kill_sweep.results(tmp_path / "store") == results


def test_an_actor_that_is_killed_fails_its_run_alone_and_is_replaced(reference, engine, tmp_path):
    from dataclasses import replace

    setting = replace(setting_of(reference[0], tmp_path / "store"), grid=GRID)
    ray_engine, killed, found = engine(slots=1), [], {}
    room, key = Store(setting.store_folder), Context(setting).key(LONG)
    runs = [LONG, Run(0, 100_000, "histogram", 0.0), *SHORT]

    def kill_once(run, share):
        if run == LONG and not killed:
            killed.extend(pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if is_actor(pid))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    def is_actor(pid: int) -> bool:
        return kill_sweep._read(pid, "cmdline")[1:].startswith(b"ray::Trainer") and ours in kill_sweep._environment(pid)

    ours = f"FEWSCANS_ROOT={reference[0]}".encode()
    long = replace(setting, grid=replace(GRID, steps=600, eval_every=20))
    with contextlib.closing(ray_engine.map(long, runs, kill_once)) as outcomes:
        found = {outcome.run: outcome for outcome in outcomes}
    assert len(killed) == 1
    assert found[LONG].state == "failed" and found[LONG].error.startswith("its actor died")
    assert found[runs[1]].state == "failed" and found[runs[1]].error.startswith("a balanced subset of 100000 cases")
    assert [found[run].state for run in SHORT] == ["trained", "trained"]
    assert room.get(key) is None


@pytest.mark.parametrize("what", ["code", "data"])
def test_an_actor_that_finds_other_code_or_data_ends_the_sweep_in_one_sentence(reference, engine, tmp_path, what):
    from dataclasses import replace

    setting = replace(setting_of(reference[0], tmp_path / "store"), grid=GRID, **{what: "what the sweep began with"})
    with pytest.raises(RunError, match="changed while .* was running; start it again"):
        list(engine(slots=1).map(setting, SHORT, lambda run, share: None))


def test_two_nodes_share_the_work_and_give_the_same_bytes(reference, engine, tmp_path):
    folder, tables, results = reference
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        made = engine(cluster.address)
        assert made.slots == 2, "an actor a node"
        nodes = {node["NodeID"] for node in made.ray.nodes() if node["Alive"]}
        assert len(nodes) == 2
        sweep.sweep(setting_of(folder, tmp_path / "store"), engine=made, out=folder / "runs", show=False)
        assert kill_sweep.tables(folder) == tables and kill_sweep.results(tmp_path / "store") == results
    finally:
        ray.shutdown()  # a cluster does not end the node that its driver is connected to
        cluster.shutdown()


def test_a_cluster_without_room_or_that_is_not_there_is_a_sentence(reference, engine, monkeypatch):
    from fewscans.sweep import ray_engine

    with pytest.raises(RunError, match=r"no node has room for 1000 CPUs and 0\.5 GPUs; the cluster has \d+ CPUs, 0"):
        engine(cpus=1000, gpus=0.5)
    monkeypatch.setattr(ray_engine, "JOIN_SECONDS", 5.0)
    with pytest.raises(RunError, match=r"--engine ray: no cluster at 127\.0\.0\.1:9 \(none answered within 5 s\); see"):
        engine("127.0.0.1:9")
