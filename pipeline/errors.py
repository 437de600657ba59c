"""The errors that a user can cause; the command line prints them without a traceback and exits 2."""


class StepscopeError(Exception):
    """Says where, what was found, what is allowed and what to do next."""


class StudyError(StepscopeError):
    """A study file that cannot be run."""


class PromptError(StepscopeError):
    """A prompt file that cannot be read."""


class ConceptError(StepscopeError):
    """A concept bank that cannot be used."""


class ModelError(StepscopeError):
    """A model folder, Hub id or scheduler that cannot be used."""


class StoreError(StepscopeError):
    """A results folder that cannot be read or written."""
