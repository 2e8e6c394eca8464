"""The two errors of this library, a wrong input and a method that a network does not allow, and one warning."""


class SpeechXAIError(ValueError):
    """A wrong input or setting. The message names what is wrong, where, and how to mend it."""


class NotApplicable(SpeechXAIError):
    """A method or metric that is not defined for this network or recording. The message says why."""


class VersionWarning(UserWarning):
    """A model is loaded under other library versions than it was trained with. The message names the differences."""
