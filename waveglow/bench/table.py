"""What the benchmarks give: tables, for reading or as JSON, and the machine that they are of."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

SKIPPED = "skipped"

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A key of the rows, what stands above it, and its format; what a row lacks is a dash."""

    key: str
    heading: str
    form: str = ""

    def cell(self, row: Row) -> str:
        value = row.get(self.key)
        return "–" if value is None else format(value, self.form)


@dataclass(frozen=True)
class Table:
    """Rows of figures; a row with "skipped" has a reason instead. Without columns, the title says it all."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """For reading; the first column stands left, figures right."""
        if not self.columns:
            return "\n".join([self.title, *self.notes])
        names = [column.heading for column in self.columns]
        cells = [[column.cell(row) for column in self.columns] for row in self.rows if SKIPPED not in row]
        widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
        first = self.columns[0]
        widths[0] = max([widths[0], *(len(first.cell(row)) for row in self.rows)])
        measured = iter(cells)
        lines = [
            f"{first.cell(row):<{widths[0]}}  {SKIPPED}: {row[SKIPPED]}"
            if SKIPPED in row
            else _line(next(measured), widths)
            for row in self.rows
        ]
        return "\n".join([self.title, _line(names, widths), *lines, *self.notes])

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"title": self.title, "rows": list(self.rows), "notes": list(self.notes)}


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return "  ".join([f"{first.strip():<{widths[0]}}", *others])


def machine(device: torch.device) -> dict[str, Any]:
    """What figures are to be read with: processor, device, vector instructions, CPU threads, version of torch."""
    return {
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def as_text(device: torch.device, tables: Iterable[Table]) -> Iterator[str]:
    """The machine and the tables for reading, each when it is there."""
    yield ", ".join(f"{key} {value}" for key, value in machine(device).items())
    for table in tables:
        yield f"\n{table.text()}"


def as_json(device: torch.device, tables: Iterable[Table]) -> Iterator[str]:
    """All of it as one JSON document."""
    yield json.dumps({**machine(device), "tables": [table.plain() for table in tables]}, indent=1)
