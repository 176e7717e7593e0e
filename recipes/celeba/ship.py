"""The demo faces that come with the package: a run's averaged weights in half precision, and their directions.

    python recipes/celeba/ship.py RUN --data RUN/data

Writes waveglow/image_models/demo-faces: the checkpoint, directions.safetensors, and a card with what measure.py finds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from waveglow.cli.main import main as waveglow
from waveglow.data.images import read_images
from waveglow.models import checkpoint
from waveglow.models.shipped import DEFAULT_IMAGE_MODEL
from waveglow.pictures import open_model, read_directions

CARD = """# demo-faces: the image flow that comes with waveglow

A Glow ({parameters:.1f} M parameters; L = 3, K = 8, nets of 128 channels, {coupling} couplings) of drawn faces,
32×32 in {n_bits} bits: {bits:.3f} bits per dimension on held-out ones. They are drawn by
`recipes/celeba/demo_faces.py`, and are nobody's.

    waveglow image sample samples.png
    waveglow image manipulate --attribute Smiling --alphas 1,2,3 face.png smiles.png

`directions.safetensors` holds the direction of each attribute in the latents, by a least-squares fit to all of
them. What they do to held-out faces, as `recipes/celeba/measure.py` reads it from the pixels:

{measured}
"""
DRAWN = "drawn by recipes/celeba/demo_faces.py in CelebA's layout; the centred 148×148, resized to 32×32"


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="training run on drawn faces")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the drawn faces, prepared")
    args = parser.parse_args()
    try:
        ship(args.run, args.data)
    except (ValueError, OSError) as error:
        print(f"ship.py: {error}", file=sys.stderr)
        sys.exit(2)


def ship(run: Path, data: Path) -> None:
    """Write the model of a run, its directions on the prepared faces `data`, its card. Raises ValueError, OSError."""
    read_images(data)
    shipped, loaded = DEFAULT_IMAGE_MODEL, checkpoint.load_image(run)
    bits = checkpoint.read_config(run / "best")["info"]["bits_per_dim"]
    made_of = {**loaded.info["data"], "dataset": "demo-faces", "version": DRAWN}
    info = {"step": loaded.info["step"], "bits_per_dim": bits, "data": made_of}
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.dim() > 1:
                parameter.data = parameter.half()
    checkpoint.save(shipped, loaded.model, loaded.model_config, info=info)
    with tempfile.TemporaryDirectory() as folder:
        directions = ["--directions", folder]
        waveglow(["image", "attributes", "--data", str(data), "--regress", "--images", "8000", folder])
        here = Path(__file__).parent
        measure = [sys.executable, str(here / "measure.py"), "--data", str(data), *directions]
        subprocess.run(measure, check=True)
        found = read_directions(Path(folder), open_model())
        made_with = {"checkpoint": shipped.name, "data": "demo-faces", "dataset": "demo-faces", "data_version": DRAWN}
        replace(found, facts={**found.facts, **made_with}).save(shipped)
        measured = (Path(folder) / "measured.txt").read_text(encoding="utf-8")
    card = CARD.format(
        parameters=sum(p.numel() for p in loaded.model.parameters()) / 1e6,
        coupling=loaded.model_config["coupling"],
        n_bits=loaded.model_config["n_bits"],
        bits=bits,
        measured="\n".join(f"    {line}" for line in measured.splitlines()),
    )
    (shipped / "README.md").write_text(card, encoding="utf-8")
    print(shipped)


if __name__ == "__main__":
    main()
