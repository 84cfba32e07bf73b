"""Time of some of a block's rows, between the numbers of rows for which it was measured."""

# Measured times of a block by rows of its output: ``(rows, ms)``, rows ascending and fewer than all.
RowTimes = tuple[tuple[int, float], ...]


def share_ms(whole_ms: float, table: RowTimes | None, rows: int, of: int) -> float:
    """Return the time of ``rows`` of a block's ``of`` rows, in ms.

    It is piecewise linear through (0, 0), the points of ``table`` and (``of``, ``whole_ms``). Without a table it is
    proportional to the rows.
    """
    if rows >= of:
        return whole_ms
    below: tuple[float, float] = (0, 0.0)
    for point in (*(table or ()), (of, whole_ms)):
        if rows <= point[0]:
            return below[1] + (point[1] - below[1]) * (rows - below[0]) / (point[0] - below[0])
        below = point
    return whole_ms
