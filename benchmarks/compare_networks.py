"""The zoo and fasterseg-student side by side on this machine, at 512x1024 and 1024x2048 in one run.

As `trainer compare` does it. Networks that --also names, files of architectures among them, take part as well.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from _common import publish

from latency_db.cli.common import ProgressLine, make_backend
from latency_db.keys import ImageSize
from latency_db.store import Store
from latency_db.whole_networks import network_plan
from trainer.cli.compare import comparison_json
from trainer.compare import compare, count_costs, default_names, entries
from trainer.comparison_picture import render_comparison
from trainer.subject import find_subject

SIZES = (ImageSize(512, 1024), ImageSize(1024, 2048))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="[default: the zoo and fasterseg-student]")
    parser.add_argument("--also", nargs="*", default=[], metavar="NETWORK", help="beside those")
    parser.add_argument("--backend", default="ort")
    parser.add_argument("--threads", type=int, help="[default: the backend's, 1]")
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="of the backend")
    parser.add_argument("--image-size", type=ImageSize.parse, action="append", help="repeatable")
    parser.add_argument("--own-resolution", action="store_true")
    parser.add_argument("--rel-ci", type=float, default=0.01)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--db", help="keep what is measured here; a call that was cut short goes on with it")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    subjects = [find_subject(name) for name in (*(options.networks or default_names()), *options.also)]
    found, _ = entries(
        subjects,
        options.image_size or SIZES,
        own_resolution=options.own_resolution,
        named=bool(options.networks),
    )
    backend = make_backend(options.backend, options.threads, tuple(options.setting))
    with ExitStack() as stack:
        url = options.db or str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "compared.db")
        comparison = compare(
            stack.enter_context(Store.open(url)),
            backend,
            found,
            count_costs(found),
            network_plan(options.rel_ci, 60 * options.minutes),
            seed=options.seed,
            report=ProgressLine(),
        )
    if options.picture is not None:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        options.picture.write_bytes(render_comparison(comparison))
    document = comparison_json(comparison)
    publish({"benchmark": "compare_networks", "rel_ci": options.rel_ci, **document}, options.output)


if __name__ == "__main__":
    main()
