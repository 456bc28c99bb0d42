"""Refusals: what a user can mend, said in one sentence that names the value and the fix.

A refusal is also the built-in error of its kind, so `except ValueError` catches one. Any other exception out of this
package is a slip of its own, or was raised by the model under explanation.
"""


class Refusal(Exception):
    """The user can mend this; the message is one sentence that says how."""


class InvalidValue(Refusal, ValueError):
    """A value, a file or an answer is not what it must be."""


class InvalidType(Refusal, TypeError):
    """Something is of the wrong type."""


class MissingExtra(Refusal, ModuleNotFoundError):
    """A package is not installed; the message names the extra that brings it."""
