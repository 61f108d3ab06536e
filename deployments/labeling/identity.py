"""Whether a folder holds this run: what decides the rows, and how two of those differ."""

from collections.abc import Mapping
from typing import Any

from alignhmr.core.errors import InputError
from alignhmr.deployments.labeling.output import Output


def check_folder(output: Output, identity: Mapping[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
    """The record of the same run, if the folder holds one; None if it is free for a new one.

    InputError if it holds anything else, unless ``overwrite``, which removes a run that is there.
    """
    output.check_alone()
    if overwrite:
        output.clear()
        return None
    record = output.record()
    if record is None:
        if not output.empty():
            raise InputError(
                f"{output.location!r} is not empty and holds no labelling run; choose another --out,"
                " or pass --overwrite to write beside what is there"
            )
        return None
    differing = differences(record.get("identity", {}), identity)
    if differing:
        raise InputError(
            f"{output.location!r} holds another labelling run ({differing}); choose another"
            " --out, or pass --overwrite to replace it"
        )
    return record


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What differs between two identities, at most three items; empty if nothing does."""
    a, b = _flat(there), _flat(here)
    changed = [key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]
    items = [f"{key} {_short(a.get(key))} there, {_short(b.get(key))} here" for key in changed[:3]]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return "; ".join(items) + more


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:21] + "..."
