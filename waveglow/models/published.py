"""Published checkpoints as models of this library: names and layouts only, nothing of their code.

NVIDIA/waveglow saved its WN in three layouts: A (November 2018) with `res_layers`, `skip_layers` and `cond_layers.i`
for each layer, B (to August 2019; also DeepLearningExamples and torch.hub) with fused `res_skip_layers`, C with one
fused `cond_layer` too. Weight norm has one gain an output channel, so that fusing layers is concatenation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from waveglow.config import ConfigError, nearest
from waveglow.flows.coupling import Coupling
from waveglow.flows.permute import InvertibleConv
from waveglow.models.published_images import glow_rosinality, realnvp_chrischute
from waveglow.models.registry import Model, build

State = dict[str, Tensor]


def from_state_dict(
    state: Mapping[str, Tensor], *, family: str | None = None, config: Mapping[str, Any] | None = None
) -> Model:
    """Model with the weights of a published state dict.

    Arguments:
        state: as the published repository saves it; `module.` prefixes, weight-norm pairs under old and new names, half
            precision; of NVIDIA/waveglow layouts A, B and C.
        family: "nvidia-waveglow", "glow-rosinality" or "realnvp-chrischute"; told from the names where it is None.
        config: the published repository's own constructor arguments, inferred from the shapes where absent; for
            images `image_size` and `n_bits` too, which no tensor tells.

    Raises ConfigError where the family is unknown or the tensors don't fit it.
    """
    return convert(state, family=family, config=config)[0]


def convert(
    state: Mapping[str, Tensor], *, family: str | None = None, config: Mapping[str, Any] | None = None
) -> tuple[Model, dict[str, Any]]:
    """As `from_state_dict`, with the model's configuration for the registry."""
    state = _cleaned(state)
    family = family or _family(state)
    if family not in FAMILIES:
        raise ConfigError(f"family {family!r} is unknown{nearest(family, FAMILIES)}")
    model_config, ours = FAMILIES[family](state, config or {})
    with torch.device("meta"):
        model = build(model_config)
    _check(ours, model.state_dict())
    model.load_state_dict(ours, assign=True)
    return model.eval(), model_config


def _nvidia_waveglow(state: State, config: Mapping[str, Any]) -> tuple[dict[str, Any], State]:
    _require_known(state)
    state = _layout_c(state)
    model_config = _waveglow_config(state, config)
    with torch.device("meta"):
        model = build(model_config)
    return model_config, _renamed(state, model)


FAMILIES: dict[str, Callable[[State, Mapping[str, Any]], tuple[dict[str, Any], State]]] = {
    "nvidia-waveglow": _nvidia_waveglow,
    "glow-rosinality": glow_rosinality,
    "realnvp-chrischute": realnvp_chrischute,
}
SIGNS = {
    "nvidia-waveglow": ("convinv.0.conv.weight", "upsample.weight"),
    "glow-rosinality": ("blocks.0.flows.0.actnorm.loc",),
    "realnvp-chrischute": ("flows.in_couplings.0.rescale.weight_g",),
}


def _family(state: State) -> str:
    for family, names in SIGNS.items():
        if all(name in state for name in names):
            return family
    known = "; ".join(f"{family} has {' and '.join(names)}" for family, names in SIGNS.items())
    raise ConfigError(
        f"the family can't be told from these tensors: {known}; here are {', '.join(sorted(state)[:3])} …; name it "
        "with --family"
    )


def _cleaned(state: Mapping[str, Tensor]) -> State:
    """Float32, without DDP's `module.` and with weight-norm pairs under their old names."""
    new_names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    result = {}
    for name, tensor in state.items():
        for new, old in new_names.items():
            name = name.replace(new, old)
        result[re.sub(r"^(module\.(\d+\.)?)+", "", name)] = tensor.float()
    return result


def _require_known(state: State) -> None:
    """Names of any layout, vectors and kernels: what follows can rely on that."""
    layers = r"WN\.\d+\.(start|end|cond_layer|(in|res|skip|res_skip|cond)_layers\.\d+)\.(weight|weight_g|weight_v|bias)"
    known = re.compile(rf"upsample\.(weight|bias)|convinv\.\d+\.conv\.weight|{layers}")
    for name, tensor in state.items():
        if not known.fullmatch(name):
            raise ConfigError(f"the checkpoint has {name!r}, which NVIDIA's WaveGlow hasn't; is --family right?")
        rank = 1 if name.endswith(".bias") else 3
        if tensor.dim() != rank:
            raise ConfigError(f"{name} has shape {list(tensor.shape)}, NVIDIA's has {rank} dimensions; is it whole?")


def _layout_c(state: State) -> State:
    """Layouts A and B fused into C; a weight without its norm becomes a pair."""
    result = dict(state)
    flows = sorted({int(name.split(".")[1]) for name in state if name.startswith("WN.")})
    for k in flows:
        n_layers = _count(state, f"WN.{k}.in_layers.")
        for i in range(n_layers):
            _fuse(result, [f"WN.{k}.res_layers.{i}", f"WN.{k}.skip_layers.{i}"], f"WN.{k}.res_skip_layers.{i}")
        _fuse(result, [f"WN.{k}.cond_layers.{i}" for i in range(n_layers)], f"WN.{k}.cond_layer")
    for name in [n for n in result if n.startswith("WN.") and n.endswith(".weight") and ".end." not in n]:
        weight = result.pop(name)
        gain = weight.flatten(1).norm(dim=1).view(-1, 1, 1)
        result[name + "_v"] = torch.where(gain == 0, 1.0, weight)  # 0 has no direction: any will do
        result[name + "_g"] = gain
    return result


def _fuse(state: State, parts: Iterable[str], whole: str) -> None:
    for kind in ("weight_g", "weight_v", "weight", "bias"):
        tensors = [state.pop(f"{part}.{kind}") for part in parts if f"{part}.{kind}" in state]
        if len({tensor.shape[1:] for tensor in tensors}) > 1:
            raise ConfigError(f"the {kind} of {whole} and its like have different shapes; is the checkpoint whole?")
        if tensors:
            state[f"{whole}.{kind}"] = torch.cat(tensors)


def _count(state: State, prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})


def _waveglow_config(state: State, given: Mapping[str, Any]) -> dict[str, Any]:
    """Our builder's numbers: from the published constructor's arguments where given, else from the shapes."""
    known = {"n_mel_channels", "n_flows", "n_group", "n_early_every", "n_early_size", "WN_config", "hop"}
    for key in given:
        if key not in known:
            raise ConfigError(f"--set {key} is no argument of NVIDIA's WaveGlow{nearest(key, known)}")
    given_wn = given.get("WN_config", {})
    if not isinstance(given_wn, Mapping):
        raise ConfigError(f"--set WN_config is {given_wn!r}; it must be a mapping such as {{n_layers: 8}}")
    n_flows = max(1, _count(state, "convinv."), _count(state, "WN."))
    try:
        wn = {
            "n_layers": _count(state, "WN.0.in_layers."),
            "n_channels": state["WN.0.start.bias"].numel(),
            "kernel_size": state["WN.0.in_layers.0.weight_v"].shape[-1],
            **given_wn,
        }
        sizes = [state[f"convinv.{k}.conv.weight"].shape[0] for k in range(n_flows)]
        n_mels, _, kernel = state["upsample.weight"].shape
    except KeyError as error:
        raise ConfigError(f"the checkpoint lacks {error}, which NVIDIA's WaveGlow has") from error
    every, size = _early(sizes)
    return {
        "name": "waveglow",
        "n_mels": given.get("n_mel_channels", n_mels),
        "hop": given.get("hop", kernel // 4),
        "upsample_kernel": kernel,
        "n_flows": given.get("n_flows", len(sizes)),
        "n_group": given.get("n_group", sizes[0]),
        "n_early_every": given.get("n_early_every", every),
        "n_early_size": given.get("n_early_size", size),
        **wn,
        "actnorm": False,
    }


def _early(sizes: list[int]) -> tuple[int, int]:
    """(n_early_every, n_early_size) from the channels of each flow; without early outputs, none ever comes."""
    for k in range(1, len(sizes)):
        if sizes[k] < sizes[k - 1]:
            return k, sizes[k - 1] - sizes[k]
    return len(sizes), 1


def _renamed(state: State, model: Model) -> State:
    mixes = [name for name, module in model.named_modules() if isinstance(module, InvertibleConv)]
    nets = [f"{name}.net" for name, module in model.named_modules() if isinstance(module, Coupling)]
    names = {"upsample": "conditioner.conv"}
    names |= {f"convinv.{k}.conv": name for k, name in enumerate(mixes)}
    names |= {f"WN.{k}.{old}": f"{net}.{new}" for k, net in enumerate(nets) for old, new in WN_NAMES.items()}
    result = {}
    for name, tensor in state.items():
        module, kind = name.rsplit(".", 1)
        base = re.sub(r"(?<=_layers)\.\d+$", "", module)
        if base not in names or kind not in KINDS:
            raise ConfigError(f"the checkpoint has {name!r}, which NVIDIA's WaveGlow hasn't; is --family right?")
        result[f"{names[base]}{module.removeprefix(base)}.{KINDS[kind]}"] = _reshaped(name, tensor)
    return result


WN_NAMES = {
    "start": "start",
    "end": "end",
    "cond_layer": "cond",
    "in_layers": "dilated",
    "res_skip_layers": "res_skip",
}
KINDS = {
    "weight": "weight",
    "bias": "bias",
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}


def _reshaped(name: str, tensor: Tensor) -> Tensor:
    """NVIDIA's tensor in our shape: matrices of 1×1 convolutions, 2-D kernels, and (log_s, t) for its (b, log_s)."""
    if name.startswith("convinv."):
        return tensor.squeeze(-1)
    if ".end." in name:
        tensor = tensor.roll(tensor.shape[0] // 2, 0)
    return tensor.unsqueeze(2) if tensor.dim() == 3 and name.startswith("WN.") else tensor


def _check(ours: State, expected: Mapping[str, Tensor]) -> None:
    for name, tensor in expected.items():
        if name not in ours:
            raise ConfigError(f"the checkpoint lacks the tensor of our {name!r}; is it whole, and --family right?")
        if ours[name].shape != tensor.shape:
            raise ConfigError(
                f"{name} has shape {list(ours[name].shape)}, the configuration asks for {list(tensor.shape)}; give the "
                "published constructor's arguments with --set"
            )
