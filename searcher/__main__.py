"""``python -m searcher``: what ``torchrun -m searcher run …`` starts in each of its processes."""

from searcher.cli import main

if __name__ == "__main__":
    main(prog_name="searcher")
