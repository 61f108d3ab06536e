"""Small files on storage: whole or not there, on a disk as on S3."""

import pytest

from alignhmr.deployments.storage import open_location, write_whole


@pytest.mark.parametrize("place", ["{folder}/a/b", "s3://place/a/b"])
def test_a_file_is_written_whole_and_again(s3, tmp_path, place):
    s3.create_bucket(Bucket="place")
    filesystem, path = open_location(place.format(folder=tmp_path))
    for data in (b"first", b"and the second", b""):
        write_whole(filesystem, f"{path}/file", data)
        with filesystem.open_input_stream(f"{path}/file") as stream:
            assert stream.read() == data


def test_who_dies_while_writing_leaves_what_was_there(tmp_path):
    filesystem, path = open_location(tmp_path)
    write_whole(filesystem, f"{path}/file", b"before")

    class Dying:
        """A filesystem whose process ends before the last step."""

        def __getattr__(self, name: str):
            if name == "move":
                raise KeyboardInterrupt
            return getattr(filesystem, name)

    with pytest.raises(KeyboardInterrupt):
        write_whole(Dying(), f"{path}/file", b"after")  # type: ignore[arg-type]
    assert (tmp_path / "file").read_bytes() == b"before"
