"""Accepted spellings of labels and splits, in lower case."""

from mimii_pl.dataset._clip import Condition, Split

CONDITIONS: dict[str, Condition] = {
    "normal": "normal",
    "ok": "normal",
    "good": "normal",
    "healthy": "normal",
    "0": "normal",
    "0.0": "normal",
    "false": "normal",
    "anomaly": "anomaly",
    "anomalous": "anomaly",
    "abnormal": "anomaly",
    "faulty": "anomaly",
    "fault": "anomaly",
    "bad": "anomaly",
    "ng": "anomaly",
    "1": "anomaly",
    "1.0": "anomaly",
    "true": "anomaly",
    "": "",
    "unknown": "",
    "nan": "",
    "-1": "",
}
SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
    "": "",
}
