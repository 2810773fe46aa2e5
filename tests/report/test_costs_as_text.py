"""Costs of a run as lines for the terminal."""

from mimii_pl.report.cost import cost_lines


def test_only_measured_costs_are_shown():
    facts = {"parameters": 1500, "size_bytes": 2000, "train_seconds": 3.0, "macs": None, "device": "cpu"}
    assert cost_lines(facts) == "training: params 1.50k, size 2.00 kB, training 3.00 s, on cpu"
    assert cost_lines(facts | {"ms_per_clip": 4.0}).splitlines()[1] == " scoring: alone 4.00 ms, on cpu"
    assert cost_lines({"ms_per_clip": float("nan"), "device": "cpu"}) == ""
