"""A backend's settings, declared once; parsing, messages, docs tables, JSON Schema and redaction all follow from it."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen

from qrmi_core.errors import ConfigError, shown

Fault = tuple[str, str, str]
"""Path, problem, remedy."""

_T = TypeVar("_T")
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@frozen
class Setting:
    """One declared setting, as `declaration` lists them."""

    name: str
    """The field's name in the settings class."""
    suffix: str
    """Follows the prefix and an underscore in the variable's name."""
    type: Any
    default: Any
    """`attrs.NOTHING` where the setting is required."""
    help: str
    secret: bool
    check: Callable[[Any], str | None] | None

    @property
    def is_required(self) -> bool:
        """There is no default."""
        return self.default is attrs.NOTHING

    @property
    def type_text(self) -> str:
        """The type in words, for tables and messages."""
        if get_origin(self.type) is Literal:
            return " or ".join(f"`{choice}`" for choice in get_args(self.type))
        return {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}[self.type]

    def parse(self, text: str) -> Any:
        """Convert the text of an environment variable.

        Raises:
            ValueError: the text is not of this type; the message says what is.
        """
        text = text.strip()
        value: Any = text
        try:
            if get_origin(self.type) is Literal:
                value = next(choice for choice in get_args(self.type) if str(choice).lower() == text.lower())
            elif self.type is bool:
                value = _WORDS[text.lower()]
            elif self.type is int:
                value = int(text)
            elif self.type is float:
                value = float(text)
                if not math.isfinite(value):
                    raise ValueError(text)
        except (ValueError, KeyError, StopIteration):
            raise ValueError(f"is not {self.type_text}") from None
        if self.check is not None and (problem := self.check(value)):
            raise ValueError(problem)
        return value


@frozen
class Declaration:
    """All that a settings class declares."""

    prefix: str
    older_prefixes: tuple[str, ...]
    settings: tuple[Setting, ...]

    def __iter__(self) -> Iterator[Setting]:
        return iter(self.settings)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The present prefix first."""
        return (self.prefix, *self.older_prefixes)

    def owns(self, variable: str) -> bool:
        """*variable* carries one of our prefixes."""
        return any(variable.startswith(f"{prefix}_") for prefix in self.prefixes)

    def variable(self, setting: Setting, prefix: str | None = None) -> str:
        """The environment variable of *setting*, without the resource's name in front."""
        return f"{prefix or self.prefix}_{setting.suffix}"

    def prefix_of(self, environment: Mapping[str, object]) -> str:
        """Which of our prefixes *environment* uses; the present one where it uses none, or several."""
        used = (prefix for prefix in self.prefixes if any(name.startswith(f"{prefix}_") for name in environment))
        return next(used, self.prefix)

    def secrets(self, environment: Mapping[str, object]) -> Iterator[str]:
        """The variables of *environment* that hold secrets."""
        names = {f"{p}_{s.suffix}" for p in self.prefixes for s in self.settings if s.secret}
        return (name for name in environment if name in names)


def setting(
    *,
    help: str,
    default: Any = attrs.NOTHING,
    secret: bool = False,
    suffix: str | None = None,
    check: Callable[[Any], str | None] | None = None,
) -> Any:
    """Declare one setting in a class under `settings`.

    Args:
        help: one sentence for the docs, with the unit.
        default: without one the setting is required.
        secret: keep it out of every repr, log and message.
        suffix: of the variable's name; by default the field's name in capitals.
        check: given the parsed value, returns what is wrong with it ("must be above 0"), or None.
    """
    facts = {"help": help, "secret": secret, "suffix": suffix, "check": check}
    return attrs.field(default=default, repr=not secret, metadata={"qrmi": facts})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(setting,))
def settings(*, prefix: str, older: tuple[str, ...] = ()) -> Callable[[type[_T]], type[_T]]:
    """Make a class of `setting` fields into a settings class.

    Fields are `str`, `int`, `float`, `bool` or a `Literal` of texts, each also `| None`.

    Args:
        prefix: of the environment variables, for example ``QRMI_ACME``.
        older: prefixes that are still accepted. Both given with different values is an error that names both.
    """

    def decorate(cls: type[_T]) -> type[_T]:
        made = attrs.frozen(kw_only=True)(cls)
        hints = get_type_hints(made)
        declared = tuple(_declared(f, hints[f.name]) for f in attrs.fields(made))  # type: ignore[arg-type]
        made.__qrmi_settings__ = Declaration(prefix, older, declared)  # type: ignore[attr-defined]
        return made

    return decorate


def _declared(field: attrs.Attribute[Any], hint: Any) -> Setting:
    facts = field.metadata["qrmi"]
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (arm for arm in get_args(hint) if arm is not type(None))
    return Setting(
        field.name,
        facts["suffix"] or field.name.upper(),
        hint,
        field.default,
        facts["help"],
        facts["secret"],
        facts["check"],
    )


def declaration(cls: type) -> Declaration:
    """What the settings class *cls* declares."""
    found = getattr(cls, "__qrmi_settings__", None)
    if not isinstance(found, Declaration):
        raise TypeError(f"{cls.__name__} is not made with @settings(prefix=...)")
    return found


def load(cls: type[_T], environment: Mapping[str, str], *, source: str, path: str = "") -> _T:
    """Make an instance of the settings class *cls* from *environment*.

    Args:
        cls: made with `settings`.
        environment: variables without the resource's name in front. Blank values count as unset.
        source: the file or place it comes from, for messages.
        path: of the environment inside *source*, for messages.

    Raises:
        ConfigError: with every fault there is; all that is missing is one. No value of a secret is in it.
    """
    declared = declaration(cls)
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    missing: list[Setting] = []
    for one in declared:
        given = {
            name: environment[name]
            for prefix in declared.prefixes
            if (name := f"{prefix}_{one.suffix}") in environment and environment[name].strip()
        }
        where = ".".join(part for part in (path, next(iter(given), "")) if part)
        if len(set(given.values())) > 1:
            faults.append((where, f"{' and '.join(given)} are both set, to different values", "Remove the older one"))
        elif given:
            text = next(iter(given.values()))
            try:
                values[one.name] = one.parse(text)
            except ValueError as exc:
                said = "its value" if one.secret else shown(repr(text))
                faults.append((where, f"{said} {exc}", f"It is: {one.help}"))
        elif one.is_required:
            missing.append(one)
    lacking = _missing(declared, missing, declared.prefix_of(environment), path)
    faults = [*lacking, *faults, *unknown(declared, environment, path)]
    if faults:
        raise ConfigError(source, tuple(faults))
    return cls(**values)


def _missing(declared: Declaration, missing: list[Setting], prefix: str, path: str) -> Iterator[Fault]:
    """One fault, however many they are, in the spelling of *prefix*; the credentials, which most often are, first."""
    names = [declared.variable(one, prefix) for one in sorted(missing, key=lambda one: not one.secret)]
    if len(names) == 1:
        yield ".".join(part for part in (path, *names) if part), "is missing", f"Set it: {missing[0].help}"
    elif names:
        problem = f"{', '.join(names[:-1])} and {names[-1]} are missing"
        yield path, problem, "Set them all; `qrmi config schema` describes each"


def unknown(declared: Declaration, environment: Mapping[str, str], path: str) -> Iterator[Fault]:
    """The variables of *environment* under our own prefixes that nothing declares."""
    known = {f"{prefix}_{one.suffix}" for prefix in declared.prefixes for one in declared}
    for name in environment:
        if declared.owns(name) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            remedy = f"Did you mean {close[0]}?" if close else f"Known are {', '.join(sorted(known))}"
            yield ".".join(part for part in (path, name) if part), "is not a setting of this type", remedy


def schema(cls: type) -> dict[str, Any]:
    """The JSON Schema of the ``environment`` object of a resource with these settings."""
    declared = declaration(cls)
    json_types = {
        bool: {"type": ["boolean", "string"]},
        int: {"type": ["integer", "string"]},
        float: {"type": ["number", "string"]},
    }
    properties: dict[str, Any] = {}
    for one in declared:
        shape: dict[str, Any] = (
            {"enum": list(get_args(one.type))}
            if get_origin(one.type) is Literal
            else dict(json_types.get(one.type, {"type": "string"}))
        )
        if one.secret:
            shape = {"anyOf": [shape, {"$ref": "#/$defs/secret"}]}
        shape["description"] = one.help
        if not one.is_required and one.default is not None:
            shape["default"] = one.default
        properties[declared.variable(one)] = shape
    return {
        "type": "object",
        "properties": properties,
        "required": [declared.variable(one) for one in declared if one.is_required and not declared.older_prefixes],
    }
