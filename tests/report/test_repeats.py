"""Options that identify a run, those that repeat it, and those that say only where and how it is run."""

from mimii_pl.core.config import compose
from mimii_pl.core.options import differences, flatten, split_options


def test_options_are_told_apart():
    what, repeats = split_options(
        {
            "model.lr": 0.1,
            "trainer.max_epochs": 2,
            "trainer": "smoke",
            "trainer.accelerator": "cpu",
            "run_dir": "here",
            "seed": 3,
            "protocol.fold": 1,
            "protocol": "cross_validation",
            "published": ["kim2021"],
            "report.clips": 3,
        }
    )
    assert what == {"model.lr": "0.1", "protocol": "cross_validation", "trainer.max_epochs": "2"}
    assert repeats == {"protocol.fold": "1", "seed": "3"}


def test_two_runs_of_one_kind_differ_in_what_repeats_them_alone():
    one, other, another = (
        split_options({**flatten(cfg), **cfg.choices})
        for cfg in (
            compose(["model=dense_ae", *overrides])
            for overrides in (["seed=1", "logger=none"], ["trainer=cpu", "published=[kim2021]"], ["protocol=mimii"])
        )
    )
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[0] != another[0]  # the values of the two protocols are the same, the protocols are not


def test_differences_name_what_varies():
    configs = [{"lr": "1", "frames": "5", "same": "0"}, {"lr": "2", "same": "0"}]
    assert differences(configs) == ["lr=1 frames=5", "lr=2"]
    assert differences(configs[:1]) == [""]
