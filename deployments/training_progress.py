"""How far a training run is: the line that shows it, and the name of its notebook."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

NOTEBOOK = ".progress.json"
"""Ends the name of the file in which a run says how far it is."""


def shown_progress(console: Console) -> Progress:
    """Its tasks have a field ``said``: how the run goes, in a few words."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"), console=console,
    )  # fmt: skip
