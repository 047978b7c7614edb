"""Conditions: from table values to network inputs, by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.atlas.conditions import Condition, beyond_neighbours, complete, encode_all, parsed
from Testing.raising import raises

WEIGHT = Condition("birth_weight", "numeric", 1.0, 5.0, unit="kg", scale=0.5)
SEX = Condition("sex", "categoric", values=("F", "M"), scale=0.5)
SITE = Condition("site", "categoric", values=("a", "b", "c"), scale=2.0)
ALL = (WEIGHT, SEX, SITE)


@given(st.floats(-10, 10), st.floats(0.1, 10), st.floats(0.01, 3), st.floats(0, 1))
def test_a_range_maps_to_plus_minus_scale(minimum, width, scale, fraction):
    condition = Condition("x", "numeric", minimum, minimum + width, scale=scale)
    (value,) = condition.encode(minimum + fraction * width)
    assert value == pytest.approx((2 * fraction - 1) * scale, abs=1e-6 * scale * (1 + abs(minimum) / width))


def test_two_words_share_an_input_and_three_have_one_each():
    assert [SEX.encode(word) for word in ("F", "M")] == [[-0.5], [0.5]]
    assert [SITE.encode(word) for word in "abc"] == [[2, -2, -2], [-2, 2, -2], [-2, -2, 2]]
    assert (WEIGHT.width, SEX.width, SITE.width) == (1, 1, 3)


def test_values_are_found_by_name_in_the_models_order():
    encoded = encode_all(ALL, {"site": "b", "sex": "M", "birth_weight": "4", "unused": 7})
    assert encoded.tolist() == [0.25, 0.5, -2, 2, -2]
    assert encode_all((), {}).shape == (0,)


def test_a_number_may_stand_for_a_word():
    """Tables hold 0 and 1, which are read as numbers; people write ``--set group=1``."""
    condition = Condition("group", "categoric", values=("0", "1"))
    assert condition.encode(1.0) == condition.encode("1") == condition.encode(1) == [1.0]
    assert condition.parse(0.0) == "0"


@pytest.mark.parametrize("condition", ALL, ids=lambda one: one.name)
def test_the_manifest_keeps_everything(condition):
    assert Condition.from_manifest(condition.to_manifest()) == condition


def test_what_is_not_given_is_what_is_expected_and_said():
    values, warnings = complete(ALL, {"sex": "M"}, {"birth_weight": 2.25, "sex": "F", "site": "c"})
    assert list(values.items()) == [("birth_weight", 2.25), ("sex", "M"), ("site", "c")]
    assert len(warnings) == 2
    assert "'birth_weight' was not given: 2.25" in warnings[0]
    assert "'site' was not given: 'c'" in warnings[1]
    assert complete(ALL, values, {}) == (values, [])


def test_a_little_outside_is_warned_of():
    values, warnings = parsed((WEIGHT,), {"birth_weight": 6})
    assert values == {"birth_weight": 6.0}
    assert "birth_weight=6 is outside the trained range 1 to 5 kg" in warnings[0]
    assert parsed((WEIGHT,), {"birth_weight": 5})[1] == []
    assert parsed((WEIGHT,), {}) == ({}, [])


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"birth_wieght": 3}, ("name-unknown", "'birth_wieght'", "'birth_weight'")),
        ({"birth_weight": "heavy"}, ("value-invalid", "'birth_weight'", "'heavy'", "1 to 5 kg")),
        ({"birth_weight": float("nan")}, ("value-invalid", "'birth_weight'", "'nan'")),
        ({"birth_weight": float("inf")}, ("value-invalid", "'birth_weight'", "'inf'")),
        ({"birth_weight": None}, ("value-invalid", "'birth_weight'", "'None'")),
        ({"birth_weight": 9.5}, ("model-range", "birth_weight=9.5", "1 to 5 kg")),
        ({"birth_weight": -3.5}, ("model-range", "birth_weight=-3.5", "1 to 5 kg")),
        ({"sex": "female"}, ("name-unknown", "'sex'", "'female'")),
        ({"site": "B"}, ("name-unknown", "'site'", "'B'", "'b'")),
    ],
)
def test_impossible_values_are_refused_by_name(values, error):
    with raises(*error):
        parsed(ALL, values)


def test_a_condition_is_described_for_people():
    assert WEIGHT.describe() == "1 to 5 kg"
    assert SITE.describe() == "a | b | c"


def test_a_value_that_no_neighbour_has_is_named():
    size = Condition("size", "numeric", 0, 10)
    group = Condition("group", "categoric", values=("0", "1"))
    neighbours = [{"size": 2.0, "group": 0.0}, {"size": 4.0, "group": 0.0}]
    assert beyond_neighbours((size, group), {"size": 4.9, "group": "0"}, neighbours) == []
    phrases = beyond_neighbours((size, group), {"size": 5.1, "group": "1"}, neighbours)
    assert phrases == ["size=5.1 (they have 2 to 4)", "group=1 (none of them)"]
    assert beyond_neighbours((size,), {"size": 9.0}, []) == []
