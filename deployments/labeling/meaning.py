"""What a failed job means, in this program's own errors."""

import re

from alignhmr.core.errors import AlignhmrError, CaptionerError, SetupError


def meaning(error: BaseException, captioner: str) -> AlignhmrError:
    """The error of this program that a failed job stands for."""
    seen: BaseException | None = error
    while seen is not None:
        cause = getattr(seen, "cause", None)
        for candidate in (cause, seen):
            if isinstance(candidate, AlignhmrError):
                return type(candidate)(_sentence(str(candidate)), code=candidate.code)
        seen = seen.__cause__
    text = str(error)
    reason = _sentence(text)
    if any(name in text for name in ("vLLMEngineStageUDF", "PrepareMultimodalUDF", "ChatTemplateUDF")):
        return CaptionerError(
            f"the vision-language model behind {captioner!r} doesn't start: {reason}; check that"
            " vLLM supports it and that it fits into memory, or use --captioner pose"
        )
    if "No space left on device" in text or "OutOfDiskError" in text:
        return SetupError(
            f"a worker's disk is full ({reason}); make room and run the same command again: it goes on where it stood"
        )
    return SetupError(
        f"the labelling run failed on a worker: {reason}; mend that and run the same command again: it goes on where it"
        " stood"
    )


def _sentence(text: str) -> str:
    """The last line that names an exception, and what stands below it: Ray quotes the worker's traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = max(
        (n for n, line in enumerate(lines) if re.match(r"[\w.]*(Error|Exception)\b", line)), default=-1
    )
    if len(lines) == 1:
        return lines[0]
    return re.sub(r"^[\w.]*Error(\([\w.]*\))?: ", "", " ".join(lines[last:]))[:400]
