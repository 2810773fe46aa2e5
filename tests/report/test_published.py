"""Published figures: what the file holds agrees with itself, keys are checked, runs are set beside them."""

import math
import statistics

import pytest

from mimii_pl.errors import InputError
from mimii_pl.report._published import everything, published


def test_every_figure_is_a_fraction_and_stands_once():
    figures = everything()
    assert all(0 < figure.value <= 1 for figure in figures)
    assert all(figure.paper and figure.dataset and figure.note for figure in figures)
    places = [(figure.key, figure.machine, figure.id, figure.metric) for figure in figures]
    assert len(places) == len(set(places))
    for key in {figure.key for figure in figures}:
        of_key = [figure for figure in figures if figure.key == key]
        assert len({figure.paper for figure in of_key}) == len({figure.dataset for figure in of_key}) == 1


@pytest.mark.parametrize("over", ["id", "machine"])
def test_published_means_are_the_means_of_what_is_published_with_them(over):
    """A slip in copying would show: rounded to two decimals of a percent, each mean is that of its parts."""
    values = {figure[:1] + figure[3:6]: figure.value for figure in everything()}
    checked = 0
    for (key, machine, name, metric), mean in values.items():
        if name == "mean" and (machine == "all") == (over == "machine"):
            parts = [
                value
                for (other, m, i, of), value in values.items()
                if (other, of) == (key, metric)
                and (i == "mean" and m != "all" if over == "machine" else m == machine and i.startswith("id_"))
            ]
            if parts:
                assert statistics.fmean(parts) == pytest.approx(mean, abs=1.1e-4), (key, machine, metric)
                checked += 1
    assert checked > 5


def test_keys_are_chosen_and_checked():
    assert {figure.machine for figure in published(["kim2021"], {"fan", "pump"})} == {"fan", "pump"}
    assert published(None) == []
    assert published("all") == list(everything())
    assert math.isclose(published("latent_lof")[2].value, 0.916)
    with pytest.raises(InputError, match=r"published=kim2012: no such key.*Did you mean kim2021\?"):
        published(["kim2012"])
