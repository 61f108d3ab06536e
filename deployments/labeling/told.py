"""A finished run in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


def show(console: Console, record: dict[str, Any]) -> None:
    counts = record["counts"]
    table = Table(title=f"{counts['rows']} rows in {len(record['parts'])} parts", title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_row("images", str(counts["images"]))
    table.add_row("  with people", str(counts["images_with_people"]))
    table.add_row("people", str(counts["people"]))
    table.add_row("  labelled", str(counts["people_labelled"]))
    table.add_row("  with pairs", str(counts["people_with_pairs"]))
    table.add_row("pairs", str(counts["pairs"]))
    for title, key in (
        ("error rows", "errors"),
        ("no pairs because", "abstained"),
        ("caption problems", "caption_errors"),
    ):
        if counts[key]:
            table.add_row(title, str(sum(counts[key].values())))
            for code, count in counts[key].items():
                table.add_row(f"  {code}", str(count))
    table.add_row("images/s", f"{record['images_per_s']:.2f}")
    cost = record["cost"]
    if cost["total"]:
        table.add_row(f"{cost['currency']} for 1,000 images", f"{cost['per_1000_images']:.4f}")
    console.print(table)
