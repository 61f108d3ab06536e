"""Captions by a vision-language model behind any server that speaks OpenAI's chat API."""

import asyncio
import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from alignhmr.core.errors import CaptionerError
from alignhmr.core.language.captions import AGAIN, SCHEMA, parse
from alignhmr.core.language.shown import Shown
from alignhmr.deployments.labeling.config import Captions, Http, Resources
from alignhmr.deployments.labeling.model_captions import as_it_is, caption_with, question, skip_mark

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from ray.data import Dataset

KEY_VARIABLE = "ALIGNHMR_CAPTIONER_KEY"
"""Environment variable with the server's key. It is sent to the server and written nowhere."""

_CHECK_TIMEOUT_S = 10.0
_ANOTHER_CHANCE = 0.5


class HttpCaptioner:
    """Sends each person's picture to a server that is already running."""

    num_gpus = 0.0

    def __init__(self, url: str, captions: Captions, resources: Resources) -> None:
        self.base = url.rstrip("/").removesuffix("/chat/completions")
        self.captions, self.resources = captions, resources
        self.shown: Shown | None = captions.shown(None)
        self.num_cpus = resources.caption.workers * resources.caption.num_cpus
        self.model = resources.http.model or ""
        self.source = f"vlm:{self.model}"
        key = os.environ.get(KEY_VARIABLE)
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def check(self) -> dict[str, str]:
        """Asks the server which models it has; finds the model's name if none was given."""
        parts = urlsplit(self.base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CaptionerError(f"{self.base!r} is not a URL; write --captioner http://HOST:PORT/v1")
        if parts.username or parts.password:
            # The URL is part of the run's record.
            raise CaptionerError(
                f"the captioner's URL for {parts.hostname} holds a password, which run.json would keep; put the"
                f" server's key into the environment variable {KEY_VARIABLE}"
            )
        if not self.model:
            listed = self._listed_models()
            if not listed:
                raise CaptionerError(
                    f"the server at {self.base} lists no models; set resources.http.model in the config file"
                )
            self.model = listed[0]
        self.source = f"vlm:{self.model.rstrip('/').rpartition('/')[2]}"
        # What runs behind a URL can't be verified: the record says so instead of naming a digest.
        return {"captioner": f"{self.model}@{parts.hostname}:{parts.port or parts.scheme} (unverified)"}

    def before_recovery(self, people: "Dataset") -> "Dataset":
        from ray.data.llm import HttpRequestProcessorConfig, build_processor

        stage = self.resources.caption
        config = HttpRequestProcessorConfig(
            url=f"{self.base}/chat/completions",
            headers=self.headers,
            batch_size=stage.batch_size,
            concurrency=stage.workers,
            session_factory=partial(PatientSession, self.resources.http),
        )
        config.http_request_stage = {"num_cpus": stage.num_cpus}
        processor = build_processor(config, preprocess=self._ask, postprocess=_answer)
        return caption_with(people, processor, self.source, required=self.captions.required, answer="text")

    def ending(self) -> "Callable[[pa.Table], pa.Table]":
        return as_it_is

    def _listed_models(self) -> list[str]:
        import requests

        try:
            response = requests.get(f"{self.base}/models", headers=self.headers, timeout=_CHECK_TIMEOUT_S)
            response.raise_for_status()
            return [str(model["id"]) for model in response.json()["data"]]
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise CaptionerError(
                f"no captioning server answers at {self.base}/models ({type(error).__name__}); start it,"
                " correct the URL (it usually ends in /v1), or use --captioner pose"
            ) from error

    def _ask(self, row: dict[str, Any]) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": question(row["jpeg"]),
            "max_tokens": self.captions.max_tokens,
            "temperature": 0.0,
        }
        if self.captions.constrained:
            schema = {"name": "body_parts", "strict": True, "schema": SCHEMA}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return {
            # As text: Arrow would give every part of a message the keys of all the others, as nulls.
            "payload": json.dumps(request),
            "__inference_error__": skip_mark(row["jpeg"]),
            "text": "",
            "jpeg": None,
        }


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    answer = row["http_response"]
    return {"row": row["row"], "text": answer["text"], "__inference_error__": answer["problem"]}


class PatientSession:
    """A session for ``HttpRequestProcessorConfig`` whose requests wait, retry, and never raise.

    Ray's stage ends the whole job when one request fails for good, or is answered by something that isn't
    JSON; and it sends a batch's requests one after another. Here a request starts when it is posted, and a
    failure comes back as an answer with a ``problem``.
    """

    def __init__(self, settings: Http) -> None:
        self.settings = settings

    async def __aenter__(self) -> "PatientSession":
        import aiohttp

        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self.settings.timeout_s))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    def post(self, url: str, headers: dict[str, str], data: str) -> "asyncio.Task[Answer]":
        # The stage encodes the payload once more; it was JSON text already.
        return asyncio.create_task(self._patiently(url, headers, json.loads(data)))

    async def _patiently(self, url: str, headers: dict[str, str], body: str) -> "Answer":
        import aiohttp

        problem, wait_s, answer = "", 0.0, None
        for attempt in range(self.settings.retries + 1):
            if attempt:
                await asyncio.sleep(max(wait_s, self.settings.wait_s * 2 ** (attempt - 1)))
            try:
                async with self.session.post(url, headers=headers, data=body) as response:
                    text = await response.text(errors="replace")
                    if response.status == 200:
                        answer = _understood(text)
                        if answer.problem or parse(answer.text).reason not in AGAIN:
                            return answer
                        body = _asked_anew(body)
                        continue
                    wait_s = _patience(response.headers.get("Retry-After"), self.settings.timeout_s)
                    problem = f"the server answered {response.status}: {text[:120]}"
                    if response.status < 500 and response.status not in (408, 429):
                        break
            except TimeoutError:
                problem = f"no answer within {self.settings.timeout_s} s"
            except aiohttp.ClientError as error:
                problem = f"{type(error).__name__}: {error}"
        # Nonsense is an answer, too: the row tells what was wrong with it.
        return answer or Answer("", problem)


def _asked_anew(body: str) -> str:
    """The same request with another chance: at temperature 0 nonsense would come again."""
    return json.dumps({**json.loads(body), "temperature": _ANOTHER_CHANCE})


def _patience(retry_after: str | None, longest_s: float) -> float:
    """Seconds that a server asks to be left alone, within reason; 0 where it says nothing that is a number."""
    try:
        return min(max(float(retry_after or 0), 0.0), longest_s)
    except ValueError:  # a date
        return 0.0


def _understood(body: str) -> "Answer":
    try:
        message = json.loads(body)["choices"][0]["message"]
        content = message.get("content")
        if isinstance(content, list):
            content = " ".join(part.get("text", "") for part in content)
        return Answer(content or message.get("refusal") or "", "")
    except (ValueError, LookupError, TypeError, AttributeError):
        return Answer("", f"the server's answer is not a chat completion: {body[:120]}")


class Answer:
    """Looks to Ray's stage like a response with status 200."""

    status = 200
    reason = "OK"

    def __init__(self, text: str, problem: str) -> None:
        self.text, self.problem = text, problem

    async def __aenter__(self) -> "Answer":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def json(self) -> dict[str, str]:
        return {"text": self.text, "problem": self.problem}
