from pathlib import Path


def write_report(run_dir: Path) -> Path:
    (run_dir / "report.html").write_text("placeholder")
    return run_dir / "report.html"
