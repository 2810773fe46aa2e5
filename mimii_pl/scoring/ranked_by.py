"""Descriptions of the objectives, for tables; apart, since a leaderboard needs no torch."""

RANKED_BY = {  # objective -> its description on the leaderboard
    "sensitivity": "the sensitivity to faults of graded severity in held-out normal clips",
    "diverse": "the AUC of pseudo-anomalies among the embeddings of held-out normal clips",
    "criterion": "the AUC of pseudo-anomalies on held-out normal clips, as of earlier versions",
    "other_ids": "the AUC of held-out normal clips of other machine IDs, scored as this one's",
    "loss": "the negative validation loss on held-out clips",
}
