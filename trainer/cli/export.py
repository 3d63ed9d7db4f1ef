"""``trainer export``."""

from __future__ import annotations

from pathlib import Path

import click

from latency_db.cli.common import IMAGE_SIZE
from latency_db.keys import ImageSize
from trainer.cli.subject import subject_argument


@click.command()
@subject_argument
@click.option(
    "--output", "-o", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The ONNX file to write."
)
@click.option("--image-size", "image", type=IMAGE_SIZE, default="1024x2048", show_default=True, help="Height x width.")
def export(named: str, classes: int | None, network: str | None, output: Path, image: ImageSize) -> None:
    """Write a network as an ONNX file for images of one size, batch norms folded.

    NETWORK is the file of a trained network, the folder of a training that has ended, or, untrained, a built-in
    architecture, a network of the zoo, the JSON file of an architecture, or package.module:factory. The file is run in
    ONNX Runtime and compared with torch before it takes its place.
    """
    from trainer.export import export_checked
    from trainer.subject import find_subject

    subject = find_subject(named, classes=classes, network=network)
    done = export_checked(subject.build(), image, output)
    click.echo(
        f"{done.path}: {subject.name} at {image}, {done.size_bytes / 1e6:.1f} MB, "
        f"logits {'x'.join(map(str, done.output_shape))}"
    )
    click.echo(f"largest difference from torch: {done.difference:.1e} of the largest logit")
    if done.batch_norms:
        click.echo(f"{done.batch_norms} batch norms are left in it: they do not follow a convolution directly")
    if subject.trained is None:
        click.echo("Its weights are random: it is untrained.")
