"""The one definition of every operator.

The topology of an operator is written once, in :mod:`latency_db.operators.topology`, over leaf layers that are injected
(:mod:`latency_db.operators.leaves`): the plain operator, an elastic one and the exported graph cannot drift apart.
"""

from latency_db.operators.build import OPERATORS, build_operator, receptive_field
from latency_db.operators.leaves import Leaves, PlainLeaves

__all__ = ["OPERATORS", "Leaves", "PlainLeaves", "build_operator", "receptive_field"]
