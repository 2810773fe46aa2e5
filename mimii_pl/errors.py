"""The one error that means: the input is wrong, here is which one, what is wrong with it and the way out."""


class InputError(ValueError):
    """Something the user gave (a file, a folder, a config key) cannot be used.

    The message names it, says what is wrong and how to go on; the command line prints it alone, without a stack trace.
    """
