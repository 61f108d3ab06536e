"""The version of alignhmr that runs."""

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    try:
        return version("alignhmr")
    except PackageNotFoundError:
        return "unknown (not installed)"
