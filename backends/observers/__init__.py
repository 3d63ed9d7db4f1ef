"""What a machine was doing while a visit's samples were taken."""

from backends.observers.protocol import CONTENDED, THROTTLED, Json, Observation, Observer, merged

__all__ = ["CONTENDED", "THROTTLED", "Json", "Observation", "Observer", "merged"]
