"""``searcher runs`` lists what the database knows of searches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from latency_db.keys import ImageSize
from latency_db.store import Store
from searcher.cli import main


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "latency.db"
    with Store.open(str(path)) as store:
        for seed, device in enumerate(("1080ti", "cpu")):
            search_id = store.start_search(
                folder=f"/runs/{device}",
                space="fasterseg",
                space_settings={},
                device=device,
                target_id=None,
                target_line=f"{device}: a shipped model",
                image=ImageSize(1024, 2048),
                batch=1,
                config={},
                seed=seed,
            )
        store.finish_search(search_id, "completed", None, 50)
        for role, latency_ms, miou in (("student", 8.25, 0.7014), ("teacher", 21.5, None)):
            store.add_derived(
                search_id,
                role=role,
                architecture={"of": role},
                branches=(16, 32),
                how="band",
                latency_ms=latency_ms,
                miou=miou,
            )
    return str(path)


def lines(*arguments: str) -> list[str]:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_every_search_is_a_line(database: str) -> None:
    header, running, completed = lines("--db", database, "runs")
    assert header.split()[:2] == ["id", "began"]
    assert "running" in running and running.split()[-3:-1] == ["-", "-"]
    assert "completed" in completed and completed.split()[-3:] == ["8.25", "70.1%", "/runs/cpu"]


def test_the_environment_names_the_database_too(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENCY_DB_URL", database)
    assert len(lines("runs", "--device", "cpu")) == 2
    assert len(lines("runs", "--device", "other")) == 1


def test_json_has_all_of_it(database: str) -> None:
    running, completed = json.loads("\n".join(lines("--db", database, "runs", "--json")))
    assert (running["device"], running["status"], running["student"]) == ("1080ti", "running", None)
    assert (completed["epochs"], completed["image_size"], completed["seed"]) == (50, "1024x2048", 1)
    assert completed["student"]["branches"] == [16, 32]
    assert completed["teacher"]["miou"] is None
