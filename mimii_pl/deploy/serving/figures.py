"""Figures of the service, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mimii_pl.deploy.serving.served import Served


class Figures:
    """Counts what the service does.

    Attributes:
        requests: with sound, by status of the answer.
        recordings: by what came of them: `normal`, `anomalous` or `unusable`.
        seconds: from the request to its answer.
        batches: windows that were scored together.
        open: requests with sound in progress.
        swaps: models that took the place of another.
        failed_watches: times that the registry could not be asked, or its version not be loaded.
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter("mimii_requests", "Requests with sound", ["status"], registry=registry)
        self.recordings = Counter("mimii_recordings", "Recordings", ["decision"], registry=registry)
        self.seconds = Histogram("mimii_request_seconds", "Duration of a request with sound", registry=registry)
        sizes = (1, 2, 4, 8, 16, 32, 64)
        self.batches = Histogram("mimii_batch_windows", "Windows scored together", buckets=sizes, registry=registry)
        self.open = Gauge("mimii_requests_in_progress", "Requests with sound in progress", registry=registry)
        self.swaps = Counter("mimii_model_swaps", "Models that took the place of another", registry=registry)
        self.failed_watches = Counter("mimii_failed_watches", "Failed looks at the registry", registry=registry)
        self._model = Gauge("mimii_model", "The model in use", ["run", "engine"], registry=registry)

    def use(self, served: Served) -> None:
        """Name the model in use."""
        self._model.clear()
        self._model.labels(served.fingerprint, served.engine).set(1)

    def text(self) -> bytes:
        """Return the figures as Prometheus reads them."""
        return generate_latest(self.registry)
