"""The errors of this library, one warning, and what is said of an error that nobody foresaw in the work on one
recording."""

from __future__ import annotations

import difflib
import re
import traceback


class SpeechXAIError(ValueError):
    """A wrong input or setting. The message names what is wrong, where, and how to mend it."""


class NotApplicable(SpeechXAIError):
    """A method or metric that is not defined for this network or recording. The message says why."""


class UnforeseenError(SpeechXAIError):
    """Any other error in the work on one recording. The message names the recording and the error's type; `trace` says
    where."""

    trace: str = ""


class VersionWarning(UserWarning):
    """A model is loaded under other library versions than it was trained with. The message names the differences."""


def encodable(text: object) -> str:
    r"""Write a text so that every file and terminal can take it: what is not UTF-8 in a file's name becomes `\udcff`.

    >>> encodable("voice-\udcff.wav")
    'voice-\\udcff.wav'
    """
    return str(text).encode("utf-8", "backslashreplace").decode()


def told(error: BaseException) -> str:
    """Say an error in words: the message of a SpeechXAIError; of any other its type, then its message on one line.

    >>> told(ValueError("frames must be specified"))
    'ValueError: frames must be specified'
    """
    try:
        text = str(error)
    except Exception:  # an error that cannot even say what it is
        text = ""
    if isinstance(error, SpeechXAIError):
        return encodable(text)
    name, text = type(error).__name__, " ".join(text.split())
    return encodable(f"{name}: {text}" if text else name)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was asked for that is not there: PyTorch says it in a RuntimeError.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 26240000000"))
    True
    """
    text = str(error).casefold()
    return isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text


def traced(error: BaseException) -> str:
    """Traceback of an error that nobody foresaw; "" for a SpeechXAIError, whose message says everything."""
    if isinstance(error, UnforeseenError):
        return error.trace
    if isinstance(error, SpeechXAIError):
        return ""
    return encodable("".join(traceback.format_exception(error)))


def named(error: Exception, name: object) -> SpeechXAIError:
    """Give any error of the work on one recording as one of this library: a SpeechXAIError as it is, any other by name.

    Args:
        error: what was raised.
        name: the file, or the recording where the file's name may not be said.
    """
    if isinstance(error, SpeechXAIError):
        return error
    found = UnforeseenError(f"{encodable(name)}: {told(error)}")
    found.trace = traced(error)
    return found


ENOUGH = 50
"""So many first items that all fail for one reason end the work: the reason is not theirs."""


class FirstFailures:
    """Watches the first items of a long work, and ends it where all of them fail for one reason."""

    def __init__(self) -> None:
        self._reason: str | None = ""
        self._n = 0

    def good(self) -> None:
        """One item went well, so the others may."""
        self._reason = None

    def bad(self, message: str) -> None:
        """One item failed; messages begin with the item's name.

        Raises:
            SpeechXAIError: it is one of ENOUGH that came first, and all of them failed for its reason.
        """
        if self._reason is None:
            return
        reason = re.sub(r"\d+", "#", message.partition(": ")[2] or message)
        self._n += 1
        self._reason = reason if self._n == 1 or reason == self._reason else None
        if self._reason is not None and self._n == ENOUGH:
            raise SpeechXAIError(f"Stopped: the first {ENOUGH} recordings all fail for one reason. {message}")


def in_range(owner: str, name: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    """Check a number against its bounds, both of them allowed.

    >>> in_range("StftConfig", "n_fft", 0, 1, 65_536, whole=True)
    Traceback (most recent call last):
    ...
    speechxai.errors.SpeechXAIError: The 'n_fft' parameter of StftConfig must be a whole number from 1 to 65536. Got 0.

    Raises:
        SpeechXAIError: another type, NaN, or a value beyond a bound.
    """
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not fits or not low <= value <= high:  # type: ignore[operator]
        kind = "a whole number" if whole else "a number"
        text = repr(value)
        got = text if len(text) <= 60 else f"{text[:57]}..."
        raise SpeechXAIError(
            f"The '{name}' parameter of {owner} must be {kind} from {low:.10g} to {high:.10g}. Got {got}."
        )


def did_you_mean(name: str, known: list[str], kind: str) -> str:
    """Return the sentence that answers a wrong `name`: the nearest known name and all known ones."""
    # The name of a package, as in "captum:Lime", is common to all of its entries and makes none of them near.
    bare = {each.rpartition(":")[2]: each for each in reversed(known)}
    close = difflib.get_close_matches(str(name).rpartition(":")[2], bare, n=1, cutoff=0.6)
    hint = f" Did you mean '{bare[close[0]]}'?" if close else ""
    return f"Unknown {kind} '{name}'.{hint} Known: {', '.join(known)}."
