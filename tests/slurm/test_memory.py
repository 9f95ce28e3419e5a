"""The plugin runs as root inside Slurm: it touches no memory that is not its own, whatever it is given."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from broker.daemon import short_folder

from slurm.cluster import TESTS, Cluster, built

SOURCE = TESTS.parent / "spank"
SANE = "-DQRMI_SANITIZE=ON"
FUZZ_S = 20
_FUZZED = ["-DQRMI_FUZZ=ON", "-DCMAKE_C_COMPILER=clang"]
JOBS = {
    "granted": ["srun", "--qpu=fez", "-n2", "true"],
    "on two nodes": ["srun", "--qpu=q=fez:exclusive,da-local", "-N2", "true"],
    "in an allocation": ["salloc", "--qpu=fez", "srun", "-n1", "true"],
    "without": ["srun", "true"],
    "mistyped": ["srun", "--qpu=fez:shared,", "true"],
    "unknown": ["srun", "--qpu=" + ",".join(f"nobody{number}" for number in range(32)), "true"],
    "batch": ["sbatch", "--wait", "--qpu=fez", "--wrap", "srun true"],
}


@contextmanager
def watched(plugin: Path) -> Iterator[Cluster]:
    """A cluster whose daemons, steps and commands have the sanitizer's library loaded; its reports lie in `asan`."""
    library = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    with short_folder() as name:
        folder = Path(name)
        (folder / "asan").mkdir()
        (folder / "asan").chmod(0o777)
        cluster = Cluster(folder, plugin)
        words = f"log_path={folder}/asan/report:detect_leaks=0"
        preloaded = {"LD_PRELOAD": str(Path(library).resolve()), "ASAN_OPTIONS": words, "UBSAN_OPTIONS": words}
        cluster.environment.update(preloaded)
        wrapper = folder / "bin" / "slurmstepd"  # an epilog has none of its slurmd's environment
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in preloaded.items())
        wrapper.write_text(f'#!/bin/sh\n{exports}exec {shutil.which("slurmstepd", path="/usr/sbin:/sbin")} "$@"\n')
        wrapper.chmod(0o755)
        for slurmd in cluster.slurmds.values():
            slurmd.words += ["-d", str(wrapper)]
            slurmd.environment.update(preloaded)
        try:
            yield cluster.start()
        finally:
            cluster.stop()


def reports(cluster: Cluster) -> str:
    """What the sanitizers have found."""
    return "\n".join(path.read_text(errors="replace") for path in (cluster.folder / "asan").iterdir())


def test_no_job_makes_the_plugin_touch_memory_that_is_not_its_own(tmp_path):
    """A node's slurmstepd would crash, or be taken over, by what a user writes."""
    with watched(built(tmp_path, SANE)) as cluster:
        done = {name: cluster.run(*words, timeout_s=120).returncode for name, words in JOBS.items()}
        opened, closed = cluster.counts()

        assert "" == reports(cluster)
    assert {"mistyped", "unknown"} == {name for name, status in done.items() if status}
    assert opened == closed == 5


def test_a_planted_overflow_is_caught_by_the_same_jobs(tmp_path):
    """The watching would watch nothing."""
    source = tmp_path / "spank"
    shutil.copytree(SOURCE, source)
    option = source / "src" / "option.c"
    planted = "volatile char *planted = malloc(8);\n\n\t\tplanted[strlen(text) > 1 ? 8 : 0] = 1;\n\t\trequest->count++;"
    text = option.read_text()
    assert 1 == text.count("request->count++;")
    option.write_text("#include <stdlib.h>\n" + text.replace("request->count++;", planted))
    with watched(built(tmp_path / "build", SANE, source=source)) as cluster:
        cluster.run(*JOBS["granted"])

        assert "heap-buffer-overflow" in reports(cluster)


@pytest.mark.parametrize("parser", ["option", "reply"])
def test_a_fuzzer_finds_nothing_in_the_parsers(tmp_path, parser):
    """A text behind `--qpu`, or whatever answers on the socket, would be read or written out of its bounds."""
    built(tmp_path, *_FUZZED)
    words = [str(tmp_path / f"fuzz_{parser}"), f"-max_total_time={FUZZ_S}", "-max_len=70000"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=10 * FUZZ_S)

    assert 0 == done.returncode, done.stderr[-3000:]
