"""The conditions of dsl.If."""

from __future__ import annotations

import pytest

from local.pipelines.condition import ConditionError, evaluate, input_names

VALUES = {"yes": True, "no": False, "n": 3, "x": 0.5, "s": "it's", "none": None}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("inputs.parameter_values['yes'] == true", True),
        ("inputs.parameter_values['no'] == true", False),
        ("!(inputs.parameter_values['no'] == true)", True),
        ("!(inputs.parameter_values['no'] == true) && inputs.parameter_values['yes'] == true", True),
        ("inputs.parameter_values['no'] == true || inputs.parameter_values['yes'] == true", True),
        ("int(inputs.parameter_values['n']) >= 3", True),
        ("int(inputs.parameter_values['n']) != 3", False),
        ("double(int(inputs.parameter_values['n'])) > 2.5", True),
        ("inputs.parameter_values['x'] < -1.5e-3", False),
        ("inputs.parameter_values['s'] == 'other'", False),
        ("inputs.parameter_values['s'] != 'a == true && ('", True),
        ("inputs.parameter_values['s'] == inputs.parameter_values['s']", True),
    ],
)
def test_conditions(condition: str, holds: bool) -> None:
    assert evaluate(condition, VALUES.__getitem__) is holds
    assert input_names(condition) <= VALUES.keys()


@pytest.mark.parametrize(
    "condition",
    [
        "", "true ==", "__import__('os')", "inputs.parameter_values['yes'].x == 1",
        "inputs.parameter_values['n'] > 'a'",
        "int(inputs.parameter_values['s']) == 1", "x == 1", "true == true == true", "(" * 500, "1" * 5000, "not true",
        "inputs.parameter_values['none'] > 1", "int == 1",
    ],
)  # fmt: skip
def test_what_is_no_condition(condition: str) -> None:
    with pytest.raises(ConditionError):
        evaluate(condition, VALUES.__getitem__)
