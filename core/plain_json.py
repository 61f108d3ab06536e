"""Trees that any JSON reader takes."""

import math
from collections.abc import Iterable, Mapping
from typing import Any


def plain(tree: Any) -> Any:
    """The tree in lists and dicts; numbers that JSON has no word for become None (null)."""
    if isinstance(tree, Mapping):
        return {str(key): plain(value) for key, value in tree.items()}
    if isinstance(tree, Iterable) and not isinstance(tree, str):
        return [plain(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
