"""Listing pictures and reading them from a disk; S3 is in test_s3.py."""

import os

import pytest

from alignhmr.core.errors import ImageError, InputError, NoImagesError
from alignhmr.deployments.labeling.sources import Reader, list_pictures
from alignhmr.deployments.storage import local_path, local_uri


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.PNG", "sub/c.webp", "notes.txt", "sub/deep/d.jpeg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def names(listing, folder):
    return [os.path.relpath(uri, folder) for uri in listing.uris]


def test_a_folder_is_searched_with_its_subfolders_in_a_fixed_order(folder):
    assert names(list_pictures(folder), folder) == ["a.PNG", "b.jpg", "sub/c.webp", "sub/deep/d.jpeg"]


def test_a_glob_and_a_file(folder):
    assert names(list_pictures(f"{folder}/*.jpg"), folder) == ["b.jpg"]
    assert names(list_pictures(f"{folder}/**/*.jp*g"), folder) == ["b.jpg", "sub/deep/d.jpeg"]
    assert names(list_pictures(folder / "b.jpg"), folder) == ["b.jpg"]


def test_several_sources_are_taken_together_each_picture_once(folder):
    (folder / "odd.dat").write_bytes(b"")
    given = [folder / "odd.dat", folder / "sub", folder / "b.jpg", folder / "sub" / "c.webp"]
    assert names(list_pictures(given), folder) == ["odd.dat", "sub/c.webp", "sub/deep/d.jpeg", "b.jpg"]
    with pytest.raises(InputError, match=r"absent.jpg' doesn't exist"):
        list_pictures([folder / "b.jpg", folder / "absent.jpg"])


def test_a_text_file_lists_pictures_relative_to_itself(folder):
    (folder / "pictures.txt").write_text(f"# good ones\n b.jpg \n\n{folder}/sub/c.webp\nabsent.jpg\n")
    assert names(list_pictures(folder / "pictures.txt"), folder) == ["b.jpg", "sub/c.webp", "absent.jpg"]


def test_limit_takes_the_first(folder):
    assert names(list_pictures(folder, limit=2), folder) == ["a.PNG", "b.jpg"]
    with pytest.raises(InputError, match="limit is 0; give a number from 1 up"):
        list_pictures(folder, limit=0)


def test_the_digest_follows_the_list(folder):
    assert list_pictures(folder).digest() == list_pictures(f"{folder}/").digest()
    assert list_pictures(folder).digest() != list_pictures(folder, limit=2).digest()


@pytest.mark.parametrize(
    ("source", "kind", "match"),
    [
        ("nowhere", InputError, "doesn't exist; give a folder"),
        ("https://example.org/a.jpg", InputError, "only local paths, file:// and s3:// are read"),
        ("s3://", InputError, "names no bucket"),
    ],
)
def test_a_source_that_cannot_be_is_said(source, kind, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=match):
        list_pictures(source)


def test_a_source_without_pictures_is_said(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    for empty in (tmp_path, tmp_path / "notes.txt", f"{tmp_path}/*.jpg"):
        with pytest.raises(NoImagesError, match="holds no pictures"):
            list_pictures(empty)


def test_a_name_that_is_not_utf8_goes_through(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9 100%.jpg"
    with open(raw, "wb") as file:
        file.write(b"data")
    (uri,) = list_pictures(tmp_path).uris
    assert uri.startswith("file://") and uri.isascii()
    assert Reader().read(uri) == b"data"
    assert local_uri(local_path(uri)) == uri


def test_what_cannot_be_read_has_a_code(folder):
    os.mkfifo(folder / "pipe.jpg")
    (folder / "locked.jpg").write_bytes(b"x")
    (folder / "locked.jpg").chmod(0)
    cases = {"absent.jpg": "missing", "sub": "not_a_file", "pipe.jpg": "not_a_file", "b.jpg": "too_large"}
    if os.getuid() != 0:
        cases["locked.jpg"] = "forbidden"
    for name, code in cases.items():
        with pytest.raises(ImageError) as caught:
            Reader(max_bytes=4).read(str(folder / name))
        assert caught.value.code == code, name
