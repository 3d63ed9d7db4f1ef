"""The FasterSeg search space."""
