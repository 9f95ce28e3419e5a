"""What a backend offers beyond the four compulsory verbs: it works as documented, or says that it is not offered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from attrs import evolve

from qrmi_core import ConfigError, Hosted, NotOffered, Opening, Payload, TaskPlan, Usage, open_resource, registry
from qrmi_core.backend import CONTRACT
from qrmi_core.declarations import declaration
from qrmi_testkit.calls import within
from qrmi_testkit.subject import Start, Subject, new_key


class Offers(Subject):
    """Settings, facts, optional verbs, and closing."""

    def test_the_registry_knows_the_backend(self, payload: Payload) -> None:
        """The type's entry point names a `Backend` of this contract, which executes the payload that we test with."""
        backend = registry.backend(self.type)

        assert backend.contract == CONTRACT
        assert payload.kind in backend.payloads

    def test_every_setting_has_help(self, resource: Hosted) -> None:
        """The reference, the schema and the messages have something to say about every setting."""
        assert [] == [one.name for one in declaration(resource.backend.settings) if not one.help.strip()]

    def test_an_unknown_setting_is_refused(self, resource: Hosted, opening: Opening) -> None:
        """A misspelt variable under the backend's own prefix is a ConfigError that names it, never ignored."""
        for prefix in declaration(resource.backend.settings).prefixes:
            variable = f"{prefix}_NO_SUCH_SETTING"
            with pytest.raises(ConfigError) as info:
                open_resource(opening.with_variables({variable: "1"})).close()
            assert [variable] == [path.rpartition(".")[2] for path, _, _ in info.value.faults]

    def test_a_missing_setting_is_named(self, resource: Hosted, opening: Opening) -> None:
        """Without its required settings the resource is refused, by one ConfigError that names all of them."""
        declared = declaration(resource.backend.settings)
        required = {declared.variable(one) for one in declared if one.is_required}

        if required:
            with pytest.raises(ConfigError) as info:
                open_resource(evolve(opening, environment={})).close()
            assert [] == sorted(required - set(re.findall(r"\w+", str(info.value))))

    def test_a_resource_knows_what_it_is_called(self, resource: Hosted, opening: Opening) -> None:
        """Name and type are those of the configuration, and whether it accepts tasks is a yes."""
        assert (opening.name, opening.type) == (resource.resource_id(), resource.resource_type())
        assert within(self.patience_s, resource.is_accessible) is True

    def test_metadata_is_text_by_name(self, resource: Hosted) -> None:
        """`metadata` is for people: names and texts, nothing nested."""
        facts = within(self.patience_s, resource.metadata)

        assert all(isinstance(text, str) for fact in facts.items() for text in fact)

    def test_a_target_is_json_or_not_offered(self, resource: Hosted) -> None:
        """What a compiler gets is JSON text."""
        try:
            target = within(self.patience_s, resource.target)
        except NotOffered:
            return

        json.loads(target)

    def test_logs_are_text_or_not_offered(self, resource: Hosted, start: Start, payload: Payload) -> None:
        """What the vendor logged about an ended task is text."""
        task_id = start(payload)
        self.end_of(resource, task_id)
        try:
            logs = within(self.patience_s, resource.task_logs, task_id)
        except NotOffered:
            return

        assert isinstance(logs, str)

    def test_usage_is_seconds_or_not_offered(self, resource: Hosted, start: Start, payload: Payload) -> None:
        """What an ended task has cost is a number of seconds, not below 0."""
        task_id = start(payload)
        self.end_of(resource, task_id)
        try:
            usage = within(self.patience_s, resource.task_usage, task_id)
        except NotOffered:
            return

        assert isinstance(usage, Usage)
        assert usage.qpu_s >= 0

    def test_a_plan_submits_nothing_or_is_not_offered(
        self, resource: Hosted, payload: Payload, task_count: Callable[[], int] | None
    ) -> None:
        """What would run can be looked at, and does not run for that."""
        count = task_count and task_count()
        try:
            plan = within(self.patience_s, resource.task_plan, payload)
        except NotOffered:
            return

        assert isinstance(plan, TaskPlan)
        assert payload.kind == plan.kind
        assert count == (task_count and task_count())

    def test_closing_twice_is_closing_once(self, opening: Opening) -> None:
        """`close` is idempotent, also on a resource that was never used."""
        resource = open_resource(opening)

        within(self.patience_s, resource.close)
        within(self.patience_s, resource.close)

    def test_an_ended_task_outlives_the_resource(self, resource: Hosted, opening: Opening, payload: Payload) -> None:
        """Closing a resource takes nothing from another one that is open, nor from its own ended tasks."""
        with open_resource(opening) as other:
            task_id = other.task_start(payload, key=new_key())
            end = self.end_of(other, task_id)

        assert end == resource.task_status(task_id)
        self.check_result(payload, resource.task_result(task_id))
