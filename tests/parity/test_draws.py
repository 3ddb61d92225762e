"""What random cases are drawn from: every architecture, and only configurations that jaxcls reads."""

from jaxcls.registry import architecture_names
from tests.parity.cases import all_spaces
from tests.parity.draws import random_cases


def test_every_architecture_is_drawn() -> None:
    changes = [space.base for space in all_spaces()]
    changes += [change for space in all_spaces() for axis in space.axes for change in axis if "architectures" in change]
    assert {change["architectures"][0] for change in changes} == set(architecture_names())


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    """Drawing reads each configuration, for the longest prompt that it takes."""
    cases = list(random_cases(300, seed=7))
    assert cases[:40] == list(random_cases(40, seed=7))
    assert len({str(case.config) for case in cases}) == 300
    assert {case.name for case in cases}.isdisjoint(case.name for case in random_cases(40))
