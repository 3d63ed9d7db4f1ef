"""What every long run needs, a search's as well as a training's: its folder, files, settings, processes, progress."""
