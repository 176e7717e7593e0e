"""What `import waveglow` gives: everything by name, nothing before it is asked for."""

import inspect
import subprocess
import sys

import pytest

import waveglow
from waveglow.audio.mel import MelSpec, preset
from waveglow.evaluation import evaluate
from waveglow.models.checkpoint import CheckpointError
from waveglow.vocoder import Vocoder


def test_the_names():
    public = {"CheckpointError": CheckpointError, "MelSpec": MelSpec, "Vocoder": Vocoder}
    functions = {"load": waveglow.load, "noise_vocoder": waveglow.noise_vocoder}
    public |= {"evaluate": evaluate, "preset": preset, **functions}
    assert {name: getattr(waveglow, name) for name in waveglow.__all__} == public
    assert set(dir(waveglow)) >= {*public, "__version__"}
    assert public.keys() - functions.keys() == waveglow.HOMES.keys()
    with pytest.raises(AttributeError, match="'waveglow' has no attribute 'Vocodor'"):
        waveglow.Vocodor  # noqa: B018


def test_torch_comes_with_the_first_name_that_needs_it():
    code = """if True:
        import sys, waveglow
        loaded = [sorted({"torch", "scipy"} & sys.modules.keys())]
        dir(waveglow), waveglow.preset("hifigan"), waveglow.MelSpec
        loaded.append(sorted({"torch", "scipy"} & sys.modules.keys()))
        from waveglow import Vocoder
        print(loaded, "torch" in sys.modules)
    """
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert said == "[[], []] True\n"


def test_load_takes_what_the_vocoder_takes():
    ours, theirs = (inspect.signature(load).parameters for load in (waveglow.load, Vocoder.load))
    assert {n: (p.kind, p.default) for n, p in ours.items() if n != "path"} == {
        n: (p.kind, p.default) for n, p in theirs.items() if n != "path"
    }


def test_load_refines_as_it_is_told_and_else_as_the_checkpoint_says():
    assert waveglow.load("lapglow").refine > 3
    assert [waveglow.load("lapglow", refine=steps).refine for steps in (0, 3)] == [0, 3]
    with pytest.raises(ValueError, match="refine is -1"):
        waveglow.load("lapglow", refine=-1)


def test_load_passes_on_all_options(monkeypatch):
    given = {"precision": "bf16", "device": "cpu", "refine": 2, "fused": True}
    monkeypatch.setattr(Vocoder, "load", lambda path, **options: (path, options))
    assert waveglow.load("a", **given) == ("a", given)
