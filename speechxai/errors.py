"""The two errors of this library: a wrong input, and a method that a network does not allow."""


class SpeechXAIError(ValueError):
    """A wrong input or setting. The message names what is wrong, where, and how to mend it."""


class NotApplicable(SpeechXAIError):
    """A method or metric that is not defined for this network or recording. The message says why."""
