from pathlib import Path

import pytest

from alignhmr.core.errors import AssetError
from alignhmr.core.perception import assets
from alignhmr.deployments.assets_command import run


def test_the_list_names_source_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    run([], list_=True, verify=False)
    said = capsys.readouterr().out
    for asset in assets.list_assets():
        assert asset.name in said and asset.package in said and asset.version in said
    assert "Apache-2.0" in said and str(assets.cache_folder()) in said


def test_a_cached_asset_is_fetched_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    folder = assets.fetch("blazepose")
    run(["blazepose", "blazepose"], list_=False, verify=False)
    assert capsys.readouterr().out.count(str(folder)) == 1


def test_verify_tells_missing_from_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALIGNHMR_CACHE", str(tmp_path))
    run([], list_=False, verify=True)
    assert capsys.readouterr().out.count("not fetched yet") == len(assets.list_assets())
    (tmp_path / "sports2d-0.8.34").mkdir()
    (tmp_path / "sports2d-0.8.34" / "demo.mp4").write_bytes(b"cut off")
    with pytest.raises(
        AssetError, match=r"damaged in .*sports2d; `alignhmr assets --fetch sports2d`"
    ) as error:
        run([], list_=False, verify=True)
    assert error.value.code == "asset_damaged"
    assert "demo.mp4 has sha256" in capsys.readouterr().out


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AssetError, match="unknown asset 'faces'"):
        run(["faces"], list_=False, verify=False)
