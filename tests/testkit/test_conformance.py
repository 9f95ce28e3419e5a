"""The suite against a backend that keeps every promise, and against others that break one each."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest
from stevedore import ExtensionManager

from qrmi_core import Payload
from qrmi_testkit.conformance import ResourceConformance

INSTALLED = Path(__file__).parent / "installed"
TYPE = "SCRIPTED_TYPE"
"""The environment variable that has `TestScripted` test another backend."""

FAILURES = {
    "ForgetsKeys": {
        "test_the_same_key_is_the_same_task",
        "test_the_same_key_at_the_same_time_is_the_same_task",
        "test_the_key_of_an_ended_task_does_not_run_it_again",
        "test_a_fresh_process_makes_no_second_task",
        "test_a_task_is_found_by_its_key",
    },
    "ReturnsEarly": {"test_a_result_asked_for_early_is_not_ready"},
    "TellsSecrets": {"test_no_secret_is_in_a_repr", "test_no_secret_is_in_an_error", "test_no_secret_is_logged"},
    "StopsTheEnded": {"test_stopping_an_ended_task_changes_nothing"},
    "KeepsTasksToItself": {
        "test_a_fresh_process_reads_the_end_of_a_task",
        "test_a_fresh_process_sees_that_a_task_runs",
        "test_a_fresh_process_stops_a_task",
        "test_a_task_outlives_the_process_that_started_it",
    },
    "RaisesWhatItLikes": {
        "test_an_unknown_task_is_not_found[task_status]",
        "test_an_unknown_task_is_not_found[task_stop]",
        "test_an_unknown_task_is_not_found[task_result]",
        "test_every_error_is_one_of_ours",
    },
    "Mumbles": {"test_every_error_says_what_to_whom_and_what_now", "test_every_error_survives_pickling"},
    "IgnoresLeaseKeys": {"test_one_lease_key_is_one_session"},
    "FailsSilently": {"test_a_failed_task_says_why", "test_every_error_says_what_to_whom_and_what_now"},
    "IgnoresTimeouts": {"test_a_wait_returns_at_its_timeout"},
    "MixesUpResults": {"test_many_threads_lose_and_mix_up_nothing"},
    "Mangles": {"test_a_large_payload_arrives_or_is_refused", "test_a_unicode_payload_arrives_or_is_refused"},
    "GoesBack": {"test_a_task_makes_allowed_moves_only"},
}
"""Broken backend -> the tests that fail for it."""


@pytest.fixture(autouse=True, scope="module")
def scripted_is_installed():
    """What is in `installed` is a distribution with entry points, like any other on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(INSTALLED)
        patch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})  # stevedore looks once in the life of a process
        yield


def script(**facts) -> Payload:
    return Payload.from_json("script", facts)


class TestScripted(ResourceConformance):
    """A backend that keeps every promise passes every test."""

    type = os.environ.get(TYPE, "scripted")
    environment: ClassVar = {"QRMI_SCRIPTED_API_KEY": "canary-7f3a/b+c"}
    patience_s, prompt_s, stop_s = 30.0, 3.0, 10.0

    @pytest.fixture
    def payload(self):
        return script(runs_s=0.15)

    @pytest.fixture
    def slow_payload(self):
        return script(runs_s=300)

    @pytest.fixture
    def failing_payload(self):
        return script(runs_s=0.1, ends="FAILED", reason="the laser went out")

    @pytest.fixture
    def payloads(self):
        return [script(runs_s=0.15, number=number) for number in range(8)]

    def check_result(self, payload, result):
        assert payload.read() == result


def failed(type_: str, report: Path) -> set[str]:
    """The tests of `TestScripted` that fail for the backend of *type_*, run in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", "pytest", f"{__file__}::TestScripted", "-p", "no:cacheprovider", f"--junitxml={report}"],
        env={**os.environ, TYPE: type_, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        timeout=300,
    )
    cases = ElementTree.parse(report).iter("testcase")
    return {case.get("name") for case in cases if {"failure", "error"} & {child.tag for child in case}}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, set[str]]:
    """What `FAILURES` expects, as it is. The suites run side by side, because they mostly wait."""
    reports = tmp_path_factory.mktemp("reports")
    with ThreadPoolExecutor(max_workers=4) as pool:
        running = {type_: pool.submit(failed, type_, reports / f"{type_}.xml") for type_ in FAILURES}
    return {type_: outcome.result() for type_, outcome in running.items()}


@pytest.mark.parametrize("type_", FAILURES)
def test_a_broken_backend_fails_the_tests_it_should_and_no_other(found, type_):
    """A suite that lets a broken promise pass is worthless; one that blames others for it sends us the wrong way."""
    assert FAILURES[type_] == found[type_]


def test_what_a_backend_cannot_offer_is_not_tested():
    """A backend none of whose tasks can fail declares so, and has no test then, rather than one that is skipped."""

    class NeverFails(ResourceConformance):
        failing_payload = None

    assert NeverFails.test_a_failed_task_says_why is None
    assert NeverFails.test_a_task_runs_to_its_result is not None
