# An export (`mimii export`) as an HTTP service, scored by onnxruntime: no torch, no Lightning, no MLflow.
#
#   docker build -t mimii .
#   docker run --rm -p 127.0.0.1:8000:8000 -v ./export:/model:ro mimii
#
# For other hosts: -p 8000:8000 -e MIMII_API_KEY=...
FROM python:3.11-slim
WORKDIR /src

# All that engine=onnx imports; without --no-deps below, mimii_pl would bring torch.
COPY constraints.txt .
RUN pip install --no-cache-dir -c constraints.txt \
    fastapi hydra-core jinja2 numpy onnxruntime prometheus_client python-multipart PyYAML rich soundfile uvicorn

COPY pyproject.toml README.md LICENSE ./
COPY conf conf
COPY mimii_pl mimii_pl
RUN pip install --no-cache-dir --no-deps .

USER nobody
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD python -c "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=4)"
CMD ["mimii", "serve", "run=/model", "engine=onnx", "host=0.0.0.0", "port=8000"]
