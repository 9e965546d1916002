"""Reads a YAML file and remembers on which line each key stands, so that an error can say where to look."""

from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1024 * 1024
Place = tuple[str | int, ...]


class YamlError(Exception):
    """The file is no YAML that is taken here; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read(path: Path) -> tuple[Any, dict[Place, int]]:
    """Return the file's content and the line of each key and item by its place, such as ("cameras", "cam1", "source").

    Anchors and aliases, tags and keys given twice are not taken. Raises OSError or YamlError.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if len(text) > MOST_BYTES:
        raise YamlError(1, f"has over {MOST_BYTES} characters, which is too many for a list of cameras")
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if getattr(event, "anchor", None):
                raise YamlError(
                    event.start_mark.line + 1, "anchors (&, *) are not taken; put what repeats under `defaults`"
                )
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            lines: dict[Place, int] = {}
            return (None if node is None else _plain(loader, node, (), lines)), lines
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, f"is not valid YAML here: {error.problem}") from None
    except yaml.YAMLError as error:  # characters that YAML has no place for
        raise YamlError(1, f"is not valid YAML: {error}") from None
    except RecursionError:
        raise YamlError(1, "is nested too deeply") from None


def _plain(loader: Any, node: Any, place: Place, lines: dict[Place, int]) -> Any:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, (*place, index), lines) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        try:
            return loader.construct_object(node)
        except ValueError:  # a month of 13, a number with nothing after its 0x
            raise YamlError(node.start_mark.line + 1, f"`{node.value}` is no date or number that there is") from None
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if key is None:
            raise YamlError(line, "a key must be a plain word")
        if key in mapping:
            raise YamlError(line, f"`{key}` is given twice; keep one of the two")
        lines[(*place, key)] = line
        mapping[key] = _plain(loader, value_node, (*place, key), lines)
    return mapping
