"""Progress bars leave nothing behind where the output is piped."""

from mimii_pl.core.bars import with_bar


def test_a_piped_bar_prints_nothing(capfd):
    assert list(with_bar([1, 2, 3], "counting")) == [1, 2, 3]
    assert capfd.readouterr() == ("", "")
