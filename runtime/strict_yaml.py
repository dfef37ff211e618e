"""Typed YAML, strictly: an unknown key or word is an error that names the nearest known one.

msgspec refuses them too, but does not say which one was meant; and the first thing that a person
gets wrong in a configuration is a name.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml
from tandem.runtime.errors import ConfigError


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part of a configuration."""


S = TypeVar("S", bound=Section)


def read(file: Path) -> dict[str, Any]:
    """Raises ConfigError when the file is not a YAML map."""
    try:
        raw = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{file}: cannot be read as YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{file}: must be a map of keys and values")
    return raw


def convert(raw: Any, kind: type[S], file: Path, where: str = "") -> S:
    """`raw` lies at `where` in the file: "", or keys that end with a dot.

    Raises:
        ConfigError: an unknown key or a wrong value, by its path in the file.
    """
    _refuse_unknown(kind, raw, where, file)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {_plain(error, where)}") from error


def _refuse_unknown(annotation: Any, value: Any, where: str, file: Path) -> None:
    """Walk the types beside the values."""
    words = _words_in(annotation)
    if isinstance(value, str) and words and value not in words:
        key = where.rstrip(".")
        raise ConfigError(f"{file}: {key}: no '{value}'; {_hint(value, '', words)}")
    kind = _section_in(annotation)
    if kind is None or not isinstance(value, dict):
        return
    if get_origin(kind) is dict:
        for key, inner in value.items():
            _refuse_unknown(get_args(kind)[1], inner, f"{where}{key}.", file)
        return
    hints = get_type_hints(kind)
    for key, inner in value.items():
        if key not in hints:
            raise ConfigError(f"{file}: unknown key {where}{key}; {_hint(str(key), where, hints)}")
        _refuse_unknown(hints[key], inner, f"{where}{key}.", file)


def _words_in(annotation: Any) -> tuple[str, ...]:
    """The few words that a value must be one of; none where any would do."""
    if get_origin(annotation) is Literal:
        return tuple(word for word in get_args(annotation) if isinstance(word, str))
    if get_origin(annotation) in (Union, UnionType) and str not in get_args(annotation):
        return tuple(word for inner in get_args(annotation) for word in _words_in(inner))
    return ()


def _hint(key: str, where: str, valid: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, valid, 1, cutoff=0.5)
    return f"did you mean {where}{near[0]}?" if near else f"valid here: {', '.join(valid)}"


def _section_in(annotation: Any) -> Any:
    """The Section, or the map of Sections, inside an annotation; None where there is none."""
    if get_origin(annotation) is dict:
        return annotation if _section_in(get_args(annotation)[1]) else None
    if get_origin(annotation) in (Union, UnionType):
        return next((found for a in get_args(annotation) if (found := _section_in(a))), None)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return None


def _plain(error: msgspec.ValidationError, where: str) -> str:
    """msgspec's message with our way of writing a key: `$.robot.arm` becomes `robot.arm`."""
    told = str(error)
    if where and "`$" not in told:
        told += " - at `$`"
    top = f"`{where.rstrip('.')}`" if where else "the top level"
    return told.replace("`$.", f"`{where}").replace("`$`", top)
