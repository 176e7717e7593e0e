"""One HTML file about a training run of an image flow: curves, a verdict, and all of its pictures.

The pictures are those of training (RUN/samples, the first and the newest step) and whatever other PNG files lie in the
run's directory, such as the results of `waveglow image sample | interpolate | attributes | evaluate`; text files beside
them are shown too. The file needs no network and no script.

  waveglow image report runs/faces
"""

import argparse

from waveglow.cli import report
from waveglow.pages.pictures import write_report

add_arguments = report.add_arguments


def run(args: argparse.Namespace) -> int:
    """Write it."""
    return report.run(args, write_report)
