"""From which score on a clip is called anomalous."""
