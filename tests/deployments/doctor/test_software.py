"""Weights that were cut or swapped, packages of other versions, assets that were damaged."""

import shutil
from pathlib import Path

import pytest

from alignhmr.core.checkpoints import resolve
from alignhmr.deployments.doctor import software


def copied(folder: Path) -> Path:
    """The shipped scorer with its card, in a folder where it may be spoiled."""
    shipped = resolve("starter", "scorer")
    for suffix in (".safetensors", ".md"):
        shutil.copy(shipped.with_suffix(suffix), folder)
    return folder / shipped.name


def states(**names: str) -> dict[str, str]:
    return {one.said.split()[0] + " " + one.name: one.state for one in software.weights(**names)}


def test_shipped_weights_are_whole_and_as_their_cards_say() -> None:
    found = list(software.weights())
    assert [one.state for one in found] == ["ok"] * 3
    assert sum("as its card says" in one.said for one in found) == 2


def test_weights_that_were_cut_short_fail(tmp_path: Path) -> None:
    path = copied(tmp_path)
    path.write_bytes(path.read_bytes()[:-1000])
    last = list(software.weights(scorer=str(path)))[-1]
    assert last.state == "fail" and str(path) in last.said and "copy it anew" in last.mend


def test_weights_with_another_digest_than_their_card_tells_fail(tmp_path: Path) -> None:
    path = copied(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # the last bit of the last weight: the file loads as before
    path.write_bytes(data)
    last = list(software.weights(scorer=str(path)))[-1]
    assert last.state == "fail" and "its card says" in last.said


def test_weights_without_a_card_are_told_so(tmp_path: Path) -> None:
    path = copied(tmp_path)
    path.with_suffix(".md").unlink()
    last = list(software.weights(scorer=str(path)))[-1]
    assert last.state == "ok" and "no card" in last.said


def test_weights_and_bodies_that_are_not_there_fail(tmp_path: Path) -> None:
    found = list(software.weights(base=str(tmp_path / "b.safetensors"), body=str(tmp_path / "body.npz")))
    assert [one.state for one in found] == ["fail", "fail", "ok"]
    assert all(one.said and one.mend for one in found[:2])


def test_packages_that_are_missing_or_of_another_version_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy<1", "nobody-has-this>=1", "pyyaml", "alsonot; extra == 'dev'"]
    monkeypatch.setattr(software, "requires", lambda _: wanted)
    found = list(software.packages())
    assert [one.state for one in found] == ["fail", "fail", "ok"]
    assert "numpy" in found[0].said and "pip install 'numpy<1'" in found[0].mend
    assert "nobody-has-this is missing" in found[1].said and found[2].said.startswith("1 as wanted")


def test_this_environment_is_as_wanted() -> None:
    assert {one.state for one in software.packages()} == {"ok"}


def test_a_damaged_asset_fails_and_one_that_is_needed_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALIGNHMR_CACHE", str(tmp_path))
    assert [(one.state, one.said) for one in software.cached_assets()] == [
        ("warn", "blazepose isn't fetched yet")
    ]
    (tmp_path / "sports2d-0.8.34").mkdir()
    (tmp_path / "sports2d-0.8.34" / "demo.mp4").write_bytes(b"cut off")
    failed = [one for one in software.cached_assets() if one.state == "fail"]
    assert [one.mend for one in failed] == ["alignhmr assets --fetch sports2d"]
