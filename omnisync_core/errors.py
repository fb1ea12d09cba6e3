"""The one error that is the user's to mend."""


class UserError(ValueError):
    """Bad input: the message says what was expected, what came, and what to do about it.

    The command line prints the message alone and ends with exit code 2; ComfyUI shows it on the
    node.
    """
