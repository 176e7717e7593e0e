"""Mel conventions by the names that users give them."""

from dataclasses import replace

import pytest

from waveglow.audio.mel import preset
from waveglow.config import ConfigError, from_mapping, merged, parse_overrides, to_mapping
from waveglow.models import mel_lookup
from waveglow.models.checkpoint import CheckpointError
from waveglow.training.config import RunConfig


def test_presets_voices_and_checkpoints(tmp_path):
    assert mel_lookup.named("vocos") == preset("vocos")
    assert mel_lookup.named("lapglow") == preset("hifigan")
    with pytest.raises(ValueError, match="did you mean 'hifigan'"):
        mel_lookup.named("hifigam")
    with pytest.raises(CheckpointError, match=r"config.json"):
        mel_lookup.named(str(tmp_path))


def test_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("preset: hifigan\nfmax: 7600.0\n", encoding="utf-8")
    spec = mel_lookup.named(str(file))
    assert (spec.fmax, spec.hop, spec.name) == (7600.0, 256, "mine")
    fields = {**preset("vocos").to_dict(), "name": "all of them"}
    file.write_text("".join(f"{key}: {'null' if value is None else value}\n" for key, value in fields.items()))
    assert mel_lookup.named(str(file)) == preset("vocos")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("preset: hifigan\nfmin: -1\n", "fmin is -1.0; it must be in"),
        ("preset: hifigam\n", "did you mean 'hifigan'"),
        ("preset: hifigan\nhops: 300\n", "unknown key 'hops'; did you mean 'hop'"),
        ("hop: 300\n", "lacks the key"),
        ("- 1\n", "a configuration is a mapping"),
    ],
)
def test_a_file_that_makes_none(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="mine.yaml: .*" + message):
        mel_lookup.named(str(tmp_path / "mine.yaml"))


def test_all_missing_keys_are_told_at_once(tmp_path):
    (tmp_path / "mine.yaml").write_text("hop: 300\nn_fft: 1200\n", encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        mel_lookup.named(str(tmp_path / "mine.yaml"))
    for key in ("sample_rate", "win", "n_mels", "fmin", "fmax", "mel_scale", "mel_norm", "pad_left", "pad_right"):
        assert repr(key) in str(error.value)
    assert "preset: hifigan" in str(error.value)


def test_fields_over_a_preset_in_a_runs_settings():
    """As a configuration's `mel: hifigan` and the override `mel.fmax=7600.0`."""
    values = merged({"model": {"name": "waveglow"}, "mel": "hifigan"}, parse_overrides(["mel.fmax=7600.0"]))
    config = from_mapping(RunConfig, values)
    assert config.mel_spec() == replace(preset("hifigan"), fmax=7600.0)
    assert config.mel_spec().name == "hifigan, changed"
    assert from_mapping(RunConfig, to_mapping(config)).mel_spec() == config.mel_spec()
    with pytest.raises(ConfigError, match=r"mel: unknown key 'fmx'; did you mean 'fmax'"):
        from_mapping(RunConfig, merged(values, parse_overrides(["mel.fmx=1"]))).mel_spec()
