"""Listing pictures and reading them: disk, lists, tables and tars; S3 is in test_s3.py, the web in test_fetching.py."""

import io
import json
import os
import pickle
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alignhmr.core.errors import ImageError, InputError, NoImagesError
from alignhmr.deployments.labeling.readers import Reader
from alignhmr.deployments.labeling.sources import Entry, list_pictures
from alignhmr.deployments.storage import local_path, local_uri


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.PNG", "sub/c.webp", "notes.txt", "sub/deep/d.jpeg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def uris(listing):
    return [entry.uri for entry in listing.entries()]


def names(listing, folder):
    return [os.path.relpath(uri, folder) for uri in uris(listing)]


def read_all(listing):
    reader = pickle.loads(pickle.dumps(Reader()))  # as it comes to a worker
    return [reader.read(entry) for entry in listing.entries()]


def test_a_folder_is_searched_with_its_subfolders_in_a_fixed_order(folder):
    assert names(list_pictures(folder), folder) == ["a.PNG", "b.jpg", "sub/c.webp", "sub/deep/d.jpeg"]


def test_a_glob_and_a_file(folder):
    assert names(list_pictures(f"{folder}/*.jpg"), folder) == ["b.jpg"]
    assert names(list_pictures(f"{folder}/**/*.jp*g"), folder) == ["b.jpg", "sub/deep/d.jpeg"]
    assert names(list_pictures(folder / "b.jpg"), folder) == ["b.jpg"]


def test_several_sources_are_taken_together(folder):
    (folder / "odd.dat").write_bytes(b"")
    given = [folder / "odd.dat", folder / "sub", folder / "b.jpg"]
    assert names(list_pictures(given), folder) == ["odd.dat", "sub/c.webp", "sub/deep/d.jpeg", "b.jpg"]
    with pytest.raises(InputError, match=r"absent.jpg' doesn't exist"):
        list_pictures([folder / "b.jpg", folder / "absent.jpg"])


def test_a_text_file_lists_pictures_relative_to_itself(folder):
    (folder / "pictures.txt").write_text(f"# good ones\n b.jpg \n\n{folder}/sub/c.webp\nabsent.jpg\n")
    assert names(list_pictures(folder / "pictures.txt"), folder) == ["b.jpg", "sub/c.webp", "absent.jpg"]


@pytest.mark.parametrize("column", [None, "where"])
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_lists_with_columns(folder, ending, column):
    name = column or "URL"
    rows = [{"id": 1, name: "b.jpg", "size": 3}, {"id": 2, name: "sub/c.webp", "size": 4}]
    path = folder / f"list.{ending}"
    if ending == "jsonl":
        # Keys are taken as they are written.
        path.write_text(
            "".join(
                json.dumps({k if k != "URL" else "url": v for k, v in row.items()}) + "\n" for row in rows
            )
        )
    elif ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        mark = "\t" if ending == "tsv" else ","
        path.write_text(
            "\n".join(mark.join(map(str, row)) for row in [rows[0], *(row.values() for row in rows)])
        )
    listing = list_pictures(path, column=column)
    assert names(listing, folder) == ["b.jpg", "sub/c.webp"]
    assert read_all(listing) == [b"b.jpg", b"sub/c.webp"]


def test_a_list_without_a_column_of_locations_says_what_it_has(folder):
    (folder / "list.csv").write_text("id,size\n1,2\n")
    with pytest.raises(
        InputError, match=r"no column named uri, url, .* only id, size; name one with --column"
    ):
        list_pictures(folder / "list.csv")
    with pytest.raises(InputError, match=r"no column 'x', only id, size"):
        list_pictures(folder / "list.csv", column="x")
    (folder / "bad.jsonl").write_text('{"url": "b.jpg"}\n{"url": 3}\n')
    with pytest.raises(InputError, match=r"line 2 of .* gives '3', no location"):
        uris(list_pictures(folder / "bad.jsonl"))
    (folder / "half.jsonl").write_text('{"url": "\\ud800.jpg"}\n')
    with pytest.raises(InputError, match=r"line 1 of .* gives no location"):
        uris(list_pictures(folder / "half.jsonl"))
    (folder / "bad.txt").write_bytes(b"b.jpg\n\xff\xfe\n")
    with pytest.raises(InputError, match="save it as UTF-8"):
        uris(list_pictures(folder / "bad.txt"))


@pytest.mark.parametrize("kind", ["binary", "struct"])
def test_a_table_of_pictures_is_read_row_by_row(tmp_path, kind):
    data = [f"picture {n}".encode() * 3 for n in range(25)]
    values = data if kind == "binary" else [{"bytes": value, "path": None} for value in data]
    pq.write_table(
        pa.table({"id": list(range(25)), "image": values}), tmp_path / "t.parquet", row_group_size=7
    )
    listing = list_pictures(tmp_path / "t.parquet")
    assert uris(listing)[3] == f"{tmp_path}/t.parquet#image[3]"
    assert read_all(listing) == data
    reader = Reader()
    entries = list(listing.entries())
    assert [reader.read(entries[n]) for n in (20, 1, 24, 0)] == [data[20], data[1], data[24], data[0]]


def test_a_tar_is_read_from_the_middle(tmp_path):
    data = {f"{n:04}.jpg": os.urandom(1000 + n) for n in range(30)}
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name, body in data.items():
            for member, content in ((name, body), (name.replace("jpg", "json"), b"{}")):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    listing = list_pictures(tmp_path / "shard.tar")
    assert uris(listing) == [f"{tmp_path}/shard.tar#{name}" for name in data]
    assert read_all(listing) == list(data.values())
    assert uris(list_pictures(tmp_path)) == uris(listing), "a folder without pictures gives those in its tars"
    whole = (tmp_path / "shard.tar").read_bytes()
    entries = list(listing.entries())
    (tmp_path / "shard.tar").write_bytes(whole[:20_000])
    with pytest.raises(ImageError) as caught:
        Reader().read(entries[-1])
    assert caught.value.code == "truncated"


def test_what_is_no_tar_and_what_is_packed_is_said(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"not a tar" * 100)
    with pytest.raises(InputError, match="can't be read as a tar"):
        list_pictures(tmp_path / "a.tar")
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(InputError, match="unpack it"):
        list_pictures(tmp_path / "a.tar.gz")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="can't be read as Parquet"):
        list_pictures(tmp_path / "a.parquet")


def test_the_web_is_off_limits_unless_asked_for(tmp_path):
    (tmp_path / "list.txt").write_text("https://example.org/a.jpg\n")
    with pytest.raises(InputError, match="only if you ask for it; pass --fetch"):
        list_pictures(tmp_path / "list.txt")
    assert uris(list_pictures(tmp_path / "list.txt", remote=True)) == ["https://example.org/a.jpg"]
    with pytest.raises(ImageError) as caught:
        Reader().read("https://example.org/a.jpg")
    assert caught.value.code == "not_fetched"


def test_limit_takes_the_first(folder):
    assert names(list_pictures(folder, limit=2), folder) == ["a.PNG", "b.jpg"]
    with pytest.raises(InputError, match="limit is 0; give a number from 1 up"):
        list_pictures(folder, limit=0)


@pytest.mark.parametrize(
    ("source", "kind", "match"),
    [
        ("nowhere", InputError, "doesn't exist; give a folder"),
        ("https://example.org/a.jpg", InputError, "pass --fetch"),
        ("ftp://example.org/a.jpg", InputError, "only local paths, file:// and s3:// are read"),
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
    (uri,) = uris(list_pictures(tmp_path))
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
    with pytest.raises(ImageError) as caught:
        Reader().read(Entry("gopher://example.org/a.jpg"))
    assert caught.value.code == "bad_location"
