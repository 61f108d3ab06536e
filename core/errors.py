"""Every error that alignhmr raises on purpose, as one tree.

AlignhmrError
├── InputError            exit 3   what the caller gave is wrong; other inputs are unaffected
│   ├── ImageError                 one picture can't be used (code: unreadable, too_large, ...)
│   ├── NoImagesError              a source holds no pictures at all
│   └── NoPersonError              a readable picture shows nobody
├── SetupError            exit 4   the machine lacks something; the message says how to get it
│   ├── AssetError                 a file of the asset manifest is missing or has another digest
│   ├── CaptionerError             the vision-language model is missing or refuses to load
│   ├── AcceleratorError           a GPU was asked for where there is none
│   └── PortError                  the address to serve on is taken
├── CompatibilityError    exit 5   two artefacts don't belong together (body model, version, digest)
└── ServiceError          exit 6   a running service can't answer now (code: overloaded, deadline, ...)

A message names what was wrong, the value seen, the value wanted and the next action.
"""


class AlignhmrError(Exception):
    """Base of the tree. ``code`` is stable and machine-readable, ``exit_code`` is the CLI's."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple:
        # The default drops keyword arguments; these errors cross Ray's process borders.
        return (_rebuild, (type(self), str(self), self.code))


def _rebuild(kind: type[AlignhmrError], message: str, code: str) -> AlignhmrError:
    return kind(message, code=code)


class InputError(AlignhmrError):
    code = "invalid_input"
    exit_code = 3


class ImageError(InputError):
    code = "unreadable"


class NoImagesError(InputError):
    code = "no_images"


class NoPersonError(InputError):
    code = "no_person"


class SetupError(AlignhmrError):
    code = "setup"
    exit_code = 4


class AssetError(SetupError):
    code = "asset_missing"


class CaptionerError(SetupError):
    code = "captioner_unavailable"


class AcceleratorError(SetupError):
    code = "accelerator_missing"


class PortError(SetupError):
    code = "port_in_use"


class CompatibilityError(AlignhmrError):
    code = "incompatible"
    exit_code = 5


class ServiceError(AlignhmrError):
    """``retry_after_s`` says when to come back; None where trying again is pointless."""

    code = "unavailable"
    exit_code = 6

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple:
        return (_rebuild_service_error, (str(self), self.code, self.retry_after_s))


def _rebuild_service_error(message: str, code: str, retry_after_s: float | None) -> ServiceError:
    return ServiceError(message, code=code, retry_after_s=retry_after_s)
