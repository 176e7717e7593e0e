"""How many frames a place sees is what streaming relies on."""

import pytest
import torch

from waveglow.nn.upsample import MelEncoder, Repeat, SmoothUpsample, TransposedConvUpsample

CONDITIONERS = {
    "transposed": lambda: TransposedConvUpsample(3, hop=8, kernel_size=32),
    "transposed, 3.5 hops": lambda: TransposedConvUpsample(3, hop=8, kernel_size=28),
    "encoder": lambda: MelEncoder(3, 5, places_per_frame=2),
    "smooth, 16 × 16": lambda: SmoothUpsample(256),
    "smooth, 2 × 4": lambda: SmoothUpsample(8),
    "smooth, 10 × 20": lambda: SmoothUpsample(200),
    "repeat": lambda: Repeat(2),
}


@pytest.mark.parametrize("name", CONDITIONERS)
@torch.no_grad()
def test_a_frame_is_seen_by_so_many_others_and_no_more(name):
    torch.manual_seed(0)
    conditioner = CONDITIONERS[name]()
    mel = torch.randn(1, 3, 20)
    other = mel.clone()
    other[:, :, 10] += 1
    places = conditioner(mel)
    assert places.shape[-1] == 20 * conditioner.places_per_frame
    changed = (conditioner(other) != places).any(1).view(20, -1).any(1).nonzero().flatten()
    before, after = conditioner.frames_seen()
    assert (int(changed.min()), int(changed.max())) == (10 - after, 10 + before)


@pytest.mark.parametrize("hop", [1, 2, 7, 18, 250])
def test_a_hop_of_no_two_even_strides_is_refused(hop):
    with pytest.raises(ValueError, match=f"hop is {hop};.*4 × a whole number"):
        SmoothUpsample(hop)
