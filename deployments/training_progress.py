"""The line that shows how far a training run is."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def shown_progress(console: Console) -> Progress:
    """Its tasks have a field ``said``: how the run goes, in a few words."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"), console=console,
    )  # fmt: skip
