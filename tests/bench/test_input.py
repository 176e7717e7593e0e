"""The input pipeline is measured on hums, and on recordings of a folder."""

import pytest

from waveglow.audio.io import save_audio
from waveglow.audio.signals import hum
from waveglow.bench import input
from waveglow.config import ConfigError

SHORT = {"batches": 2, "workers": [0, 1], "batch": 1, "segment_samples": 1024, "repeats": 1}


def test_input_of_hums_and_of_a_folder(tmp_path):
    for voice in range(3):
        save_audio(tmp_path / f"{voice}.wav", hum(0.5, 22050, voice=voice), 22050)
    for corpus, recordings in [(None, input.FILES - 1), (tmp_path, 2)]:  # one is held out
        [table] = input.tables(corpus, **SHORT)
        assert table.title.endswith(f"from {recordings} recordings")
        step, *rows = table.rows
        assert [row["what"] for row in rows] == ["input, 0 workers", "input, 1 workers"]
        for row in rows:
            ratio = row["audio_seconds_per_second"] / step["audio_seconds_per_second"]
            assert row["times_the_step"] == pytest.approx(ratio)


def test_a_corpus_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.jsonl: can't be read"):
        next(input.tables(tmp_path / "nowhere.jsonl", **SHORT))


def test_a_run_counts_at_least_a_batch():
    with pytest.raises(ValueError, match="batches is 0; it must be above 0"):
        next(input.tables(batches=0))
