"""How far each model is from the code that published it, on tests/golden: `python tests/parity.py` prints a table.

Errors are the greatest, over the greatest magnitude of what is compared (at least 1).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from models import test_published as of_nvidia
from models.test_published_vocoders import flowavenet_latents, golden, of
from torch import Tensor


def error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1))


def nvidia_waveglow() -> dict[str, float]:
    file, model = of_nvidia.golden(), of_nvidia.from_state_dict(of_nvidia.published_state())
    zs, _ = model.encode(file["audio"], file["mel"])
    noise = [float(of_nvidia.metadata()["sigma"]) * file[f"infer_noise.{i}"] for i in (2, 1, 0)]
    return {
        "latents": error(torch.cat(zs, 1), file["z"]),
        "likelihood": error(of_nvidia.nvidia_loss(model), file["loss"]),
        "audio": error(model.decode(noise, file["mel"]), file["infer_audio"]),
    }


def nvidia_waveglow_old() -> dict[str, float]:
    values = golden("nvidia_waveglow_old").values
    noise = [0.7 * values["infer_noise.1"], 0.7 * values["infer_noise.0"]]
    return {"audio": error(of("nvidia_waveglow_old").decode(noise, values["mel"]), values["infer_audio"])}


def squeezewave(name: str) -> dict[str, float]:
    model, values = of(name), golden(name).values
    zs, log_det = model.encode(values["audio"], values["mel"])
    noise = [0.7 * values["infer_noise.1"].double(), values["infer_noise.0"].double()]
    audio = model.double().decode(noise, values["mel"].double())
    return {
        "latents": error(torch.cat(zs, 1), values["z"]),
        "likelihood": error(log_det, values["logdet"]),
        "audio": error(audio, values["infer_audio"]),
    }


def flowavenet() -> dict[str, float]:
    model, (_, values, config) = of("flowavenet"), golden("flowavenet")
    log_prob = model.log_prob(values["audio"][:, 0], values["mel"]) / values["audio"].shape[2]
    zs = flowavenet_latents(values["z_in"], config["n_block"], config["block_per_split"])
    return {
        "likelihood": error(log_prob.mean(), values["log_p"] + values["logdet"]),
        "audio": error(model.decode(zs, values["mel"]), values["infer_audio"][:, 0]),
    }


def waveflow(name: str) -> dict[str, float]:
    model, values = of(name), golden(name).values
    (z,), log_det = model.encode(values["audio"], values["mel"])
    return {
        "latents": error(z, values["z"][:, 0]),
        "likelihood": error(log_det.sum(0, keepdim=True), values["logdet_sum"]),
        "audio": error(model.decode([values["z_in"][:, 0]], values["mel"]), values["infer_audio"]),
    }


COMPARED: dict[str, Callable[[], dict[str, float]]] = {
    "NVIDIA/waveglow `glow.py`": nvidia_waveglow,
    "NVIDIA/waveglow `glow_old.py`": nvidia_waveglow_old,
    "SqueezeWave a128": lambda: squeezewave("squeezewave_a128"),
    "SqueezeWave a256": lambda: squeezewave("squeezewave_a256"),
    "FloWaveNet": flowavenet,
    "WaveFlow": lambda: waveflow("waveflow"),
    "WaveFlow, bipartite": lambda: waveflow("waveflow_bipartite"),
}


@torch.no_grad()
def main() -> None:
    print("| published code | latents | likelihood or log-det | audio |\n|---|---|---|---|")
    for name, compare in COMPARED.items():
        errors = compare()
        cells = [f"{errors[key]:.0e}" if key in errors else "–" for key in ("latents", "likelihood", "audio")]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
