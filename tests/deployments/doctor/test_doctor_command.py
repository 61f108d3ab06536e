"""``alignhmr doctor`` as a whole: table, JSON, exit code."""

import json
import socket

import pytest

from alignhmr.deployments import cli


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["alignhmr", "doctor", "--no-ray", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_nothing_wrong_is_exit_code_0(doctor) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code, out, err = doctor("--port", str(port), "--json")
    told = json.loads(out)
    assert (code, err, told["ok"]) == (0, "", True)
    names = {one["name"] for one in told["findings"]}
    assert names == {"gpu", "packages", "body model", "weights", "assets", "clock", "disk", "shared memory",
                     "open files", "port"}  # fmt: skip


def test_what_fails_is_exit_code_4_and_is_named_with_how_to_mend_it(doctor) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, out, err = doctor("--port", str(taken.getsockname()[1]))
    assert code == 4 and "checks failed (port)" in err
    assert "fail" in out and "→ stop what listens there" in " ".join(out.split())


def test_words_in_brackets_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    from alignhmr.core.errors import SetupError
    from alignhmr.deployments.doctor import command
    from alignhmr.deployments.doctor.findings import fail

    monkeypatch.setattr(
        command, "examined", lambda **_: [fail("x", "no vLLM", "pip install 'alignhmr[vlm]'")]
    )
    text = io.StringIO()
    with pytest.raises(SetupError, match=r"1 of 1 checks failed \(x\)"):
        command.run(console=Console(file=text, width=100))
    assert "'alignhmr[vlm]'" in text.getvalue()
