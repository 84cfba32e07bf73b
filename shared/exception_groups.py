"""Single errors of exception groups, which task groups raise."""


def errors_in(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return all errors of a group and of the groups in it, in order."""
    errors: list[BaseException] = []
    for error in group.exceptions:
        errors.extend(errors_in(error) if isinstance(error, BaseExceptionGroup) else [error])
    return errors


def only_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error in a group of one, also in nested ones; the innermost group itself if it holds several."""
    if len(group.exceptions) != 1:
        return group
    only = group.exceptions[0]
    return only_error(only) if isinstance(only, BaseExceptionGroup) else only
