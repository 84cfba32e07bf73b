from collections.abc import Callable

import pytest

from planning.problem.problem import Problem
from tests.support.random_problems import random_problem


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    return random_problem
