"""What can be wrong with a model version. Without torch, so that a transport can import it."""


class VersionError(RuntimeError):
    """A folder is not a usable model version; the message says what is missing or wrong."""


class NonFiniteScoreError(VersionError):
    """The version's numbers for a question are not finite, so there is no answer to it."""
