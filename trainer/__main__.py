"""``python -m trainer``: what ``torchrun -m trainer …`` starts in each of its processes."""

from trainer.cli import main

if __name__ == "__main__":
    main(prog_name="trainer")
