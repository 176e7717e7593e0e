"""Cache an image set for training: cropped, resized and checked once, as 8-bit shards with a hash.

NAME is celeba, cifar10, imagefolder (any folder of pictures, or of one folder a class), fashion-mnist, mnist-5k,
digits, imagenet32 or imagenet64 (.npz batches), lsun (LMDB), or celeba-hq (a folder, or Glow's tfrecords). SOURCE is
what was published, as it was: a folder or an archive; sets that come with a package need none.
Pictures that can't be used are refused by name. Run again with the same settings, it finds the work done.

  waveglow image prepare --dataset celeba CelebA data/celeba-64
  waveglow image prepare --dataset celeba --download downloads data/celeba-64
  waveglow image prepare --dataset imagefolder --size 32 holidays data/holidays
  waveglow image prepare --dataset digits data/digits

CelebA needs img_align_celeba/ (or its zip), list_attr_celeba.txt and list_eval_partition.txt in one folder;
it is for non-commercial research only. Pictures of your own in its layout say in origin.txt what they are, and whose.
"""

import argparse
import sys
from pathlib import Path

from waveglow.cli.values import positive
from waveglow.data.image_sources import CELEBA_TERMS, download_celeba
from waveglow.data.images import prepare_images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, nargs="?", metavar="SOURCE", help="folder or archive of the set")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the cache")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="celeba, cifar10, imagefolder, …; see above")
    parser.add_argument("--size", type=positive, metavar="PX", help="pixels a side (the set's own; else 64)")
    parser.add_argument("--download", action="store_true", help="celeba: fetch it into SOURCE by torchvision first")


def run(args: argparse.Namespace) -> int:
    """Write the cache."""
    source = args.source
    if args.download:
        if args.dataset != "celeba" or source is None:
            raise ValueError("--download is for --dataset celeba, and needs SOURCE, the folder to download into")
        print(f"notice: {CELEBA_TERMS}", file=sys.stderr)
        source = download_celeba(source)
    images = prepare_images(args.dataset, source, args.out, size=args.size)
    if CELEBA_TERMS in images.version and not args.download:
        print(f"notice: {CELEBA_TERMS}", file=sys.stderr)
    for line in images.refused:
        print(f"refused: {line}", file=sys.stderr)
    print(images.text())
    return 3 if images.refused else 0
