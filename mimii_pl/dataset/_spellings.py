"""Words that people use for what a recording is."""

NORMAL, ANOMALY, UNKNOWN = "normal", "anomaly", ""
CONDITIONS = {
    "normal": NORMAL, "ok": NORMAL, "good": NORMAL, "healthy": NORMAL, "0": NORMAL, "0.0": NORMAL, "false": NORMAL,
    "anomaly": ANOMALY, "anomalous": ANOMALY, "abnormal": ANOMALY, "faulty": ANOMALY, "fault": ANOMALY, "bad": ANOMALY,
    "ng": ANOMALY, "1": ANOMALY, "1.0": ANOMALY, "true": ANOMALY,
    "": UNKNOWN, "unknown": UNKNOWN, "nan": UNKNOWN, "-1": UNKNOWN,
}  # fmt: skip
SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "test": "test", "testing": "test", "": "",
}  # fmt: skip
