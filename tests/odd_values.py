"""A JSON document with each of its fields replaced by what no field should hold."""

import json
from typing import Any

ODD_VALUES = [
    "null",
    "true",
    "-1",
    "0",
    "1.5",
    "1e400",
    "NaN",
    '""',
    '"x"',
    '"\\ud800"',
    "[]",
    "{}",
    "[[]]",
    '[{"id": 1}]',
    "1" * 5000,
]


def with_odd_values(document: Any) -> list[str]:
    """The document once for each of its fields and each odd value in that field's place."""
    texts = []

    def visit(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            kept, node[key] = node[key], "@@"
            whole = json.dumps(document)
            texts.extend(whole.replace('"@@"', value) for value in ODD_VALUES)
            node[key] = kept
            if isinstance(kept, dict | list):
                visit(kept)

    visit(document)
    return texts
