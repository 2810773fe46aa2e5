"""MLflow: results of a run, parents of sweeps, leaderboard."""
