"""How far a criterion can be trusted: rank correlations and regrets with known answers, in words."""

import math

from mimii_pl.report import criterion_trust
from mimii_pl.report.beaten import LISTED_ROWS, beaten_alert, interval_text
from mimii_pl.report.criterion_trust import MEASURED, MeasuredAgreement, trust_note
from mimii_pl.scoring.bootstrap import Interval
from mimii_pl.scoring.ranked_by import RANKED_BY


def note(values, goals):
    return trust_note("criterion", "sensitivity", values, goals, "(AUC + pAUC)/2")


def test_the_agreement_of_an_order_with_the_test_clips():
    same = note([0.9, 0.8, 0.7, 0.6], [0.95, 0.9, 0.6, 0.5])
    assert same == (
        "Trust in this order: over these 4 rows the rank correlation (Spearman) of sensitivity and (AUC + pAUC)/2 of "
        "the test clips is 1.00 (1: the same order, 0: none); the first row is the best."
    )
    turned = note([0.9, 0.8, 0.7, 0.6], [0.5, 0.6, 0.9, 0.95])
    assert "test clips is -1.00" in turned
    assert "the first row is .450 below the best" in turned
    ranks = note([0.9, 0.8, 0.7, 0.6, 0.5], [0.8, 0.9, 0.6, 0.7, 0.5])  # sum of squared differences 4: 1 - 24/120
    assert "test clips is .80" in ranks


def test_what_is_undefined_or_tied_is_said():
    tied = note([1, 1, 0.7, 0.6], [0.5, 0.6, 0.7, 1])
    assert "2 rows share the first's sensitivity, so their order says nothing" in tied
    constant = note([1.0] * 4, [0.5, 0.6, 0.7, 0.9])
    assert "is undefined" in constant
    assert "4 rows share" in constant
    assert note([0.9, 0.8, 0.7, math.nan], [0.5, 0.6, 0.7, 0.9]) == ""  # three are too few


def test_what_was_measured_elsewhere_is_said_of_its_own_criterion(monkeypatch):
    measured = (
        MeasuredAgreement("criterion", "toys", 25, 0.314, 0.052),
        MeasuredAgreement("criterion", "motors", 26, -0.1, 0.0),
        MeasuredAgreement("loss", "toys", 25, 0.9, 0.001),
    )
    monkeypatch.setattr(criterion_trust, "MEASURED", measured)
    assert note([0.9], [0.8]) == (
        "Rank correlation (Spearman) of this criterion with (AUC + pAUC)/2, measured elsewhere: .31 on toys (25 "
        "detectors, its choice .052 below the best); -.10 on motors (26 detectors, its choice .000 below the best)."
    )


def test_what_is_recorded_is_of_criteria_that_there_are():
    for one in MEASURED:
        assert one.criterion in RANKED_BY
        assert -1 <= one.spearman <= 1
        assert 0 <= one.regret <= 1
        assert one.detectors >= 25


def test_an_alert_names_the_rows_and_their_intervals():
    assert beaten_alert({}) == ""
    better = {f"detector {n}": Interval(0.05 - n / 1000, 0.02, 0.08) for n in range(LISTED_ROWS + 2)}
    head, first, *_, last = beaten_alert(better, "ToyCar").splitlines()
    assert head == "The first row of ToyCar is not the best: 7 rows beat it on the test clips"
    assert first == "▲ detector 0: AUC .050 higher, interval .020 to .080"
    assert last == "and 2 more"
    assert beaten_alert({"a": better["detector 0"]}).startswith("The first row is not the best: 1 row beats it")
    assert interval_text(Interval(-0.05, -0.08, -0.02)) == "-.050 [-.080, -.020] *"
    assert interval_text(Interval(-0.0003, -0.03, 0.0004)) == ".000 [-.030, .000]"
    assert interval_text("other clips") == "other clips"
