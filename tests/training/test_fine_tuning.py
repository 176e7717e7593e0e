"""Minutes of fine-tuning on a few clips help, by the recipe that the shipped voice brings along."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import waveglow
from waveglow.cli.main import main
from waveglow.data.prepare import prepare
from waveglow.metrics import METRICS, Take

CLIPS = Path(__file__).parents[2] / "audio_samples" / "reference"
HELD_OUT = ("en-followme-sorry", "fr-conf-now-muted")


def scores(voice, name, seeds=3):
    """Of the flow's own samples of the held-out clips, without refinement: one number a clip and seed."""
    metric, found = METRICS[name].load(), []
    for clip in HELD_OUT:
        audio, rate = soundfile.read(CLIPS / f"{clip}.wav", dtype="float32")
        take = Take(audio, voice.mel_spec, voice.model.group)
        for seed in range(seeds):
            copy = voice(audio, rate, refine=0, seed=seed).numpy()
            found.append(metric(take, Take(copy, voice.mel_spec, voice.model.group)))
    return np.array(found)


@pytest.mark.training
@pytest.mark.timeout(1800)
def test_minutes_of_fine_tuning_make_the_flows_own_samples_better(tmp_path):
    torch.set_num_threads(2)
    prepare(CLIPS, tmp_path / "data", sample_rate=22050)
    manifest = tmp_path / "data" / "manifest.jsonl"
    entries = [json.loads(line) for line in manifest.read_text().splitlines()]
    for entry in entries:
        entry["split"] = "valid" if Path(entry["path"]).stem in HELD_OUT else "train"
    manifest.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    run = tmp_path / "run"
    given = ["--init-from", "lapglow", "--data", str(manifest), "--run-dir", str(run), "--device", "cpu"]
    assert main(["train", *given, "data.workers=0", "train.steps=120", "train.validate_every_steps=60"]) == 0
    before, after = waveglow.load(), waveglow.load(run)
    gains = {name: scores(after, name) - scores(before, name) for name in ("mr_stft", "pesq")}
    print({name: (round(gain.mean(), 3), np.round(gain, 3).tolist()) for name, gain in gains.items()})
    assert gains["mr_stft"].mean() < -0.03
    assert gains["pesq"].mean() > -0.02
    valid = [m for m in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if m["kind"] == "valid"]
    assert [m["step"] for m in valid] == [0, 60, 120]
    assert valid[-1]["nll_nats"] < valid[0]["nll_nats"]
