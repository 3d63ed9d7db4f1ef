"""The package list: what is found, plus the migrations, which live at ``alembic/`` and ship in ``latency_db``.

Everything else is in setup.cfg. ``find:`` there cannot name a package that lies in another folder, hence this file.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["latency_db*", "backends*", "searcher*", "trainer*"]),
        "latency_db.migrations",
        "latency_db.migrations.versions",
    ]
)
