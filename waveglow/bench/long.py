"""Hours of audio through one stream: does memory stay where it is, and the speed?"""

from __future__ import annotations

import itertools
import resource
import sys
import time
from collections.abc import Iterator, Sized

from waveglow.audio.signals import hum
from waveglow.bench.measuring import progress, require_positive
from waveglow.bench.table import Column, Row, Table
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.vocoder import Vocoder

REPORTS = 10
COLUMNS = (
    Column("hours", "hours of audio", ".2f"),
    Column("peak_mib", "peak, MiB", ".0f"),
    Column("real_time_factor", "RTF since the last", ".4f"),
)


def tables(
    vocoder: Vocoder | OnnxVocoder, *, hours: float = 1.0, chunk_frames: int = 1024, refine: int | None = None
) -> Iterator[Table]:
    """One, of memory and speed on the way, when a mel is repeated for so long and its audio thrown away.

    Arguments:
        vocoder: the voice, on its device, in its precision; or an exported one.
        hours: of audio.
        chunk_frames: mel frames that arrive at once.
        refine: steps of refinement; None is as the voice was validated.

    Yields: rows with `hours` of audio so far, `peak_mib`, the most memory that the process ever had, in MiB, so that a
    leak shows as a number that keeps growing, and the `real_time_factor` since the last row.

    Raises ValueError for hours or a chunk that aren't above 0.
    """
    require_positive("hours", hours)
    require_positive("chunk_frames", chunk_frames)
    rate, hop = vocoder.sample_rate, vocoder.mel_spec.hop
    chunk = vocoder.mel(hum(chunk_frames * hop / rate, rate), rate)[:, :chunk_frames]
    chunks = max(REPORTS, round(3600 * hours * rate / (hop * chunk.shape[-1])))
    pieces: Iterator[Sized] = vocoder.stream(itertools.repeat(chunk, chunks), refine=refine)
    yield Table(f"{vocoder.precision}, chunks of {chunk.shape[-1]} frames", COLUMNS, _rows(pieces, rate, chunks))


def _rows(pieces: Iterator[Sized], rate: int, chunks: int) -> list[Row]:
    rows: list[Row] = []
    done = before = 0.0
    started = time.perf_counter()
    for i, piece in enumerate(pieces, 1):
        done += len(piece) / rate
        if i % (chunks // REPORTS) == 0:
            now = time.perf_counter()
            unit = 2**20 if sys.platform == "darwin" else 2**10
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
            factor = (now - started) / (done - before)
            rows.append({"hours": done / 3600, "peak_mib": peak, "real_time_factor": factor})
            progress(f"{done / 3600:.2f} hours, peak {peak:.0f} MiB, real-time factor {factor:.4f}")
            started, before = now, done
    return rows
