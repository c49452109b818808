# The server with its trainer. Build from the root of the repository:
#   docker build -t archpress-server .
# For GPUs, take the CUDA build of torch from the package index:
#   docker build --build-arg TORCH_INDEX= -t archpress-server .

FROM python:3.12-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# torch and torchvision of one index match each other; which versions, is the index's choice.
# hadolint ignore=DL3013
RUN python -m venv /opt/archpress \
    && /opt/archpress/bin/pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision
WORKDIR /src
COPY constraints.txt .
COPY proto proto
COPY trainer trainer
COPY server server
RUN /opt/archpress/bin/pip install -c constraints.txt \
    ./proto './trainer[datasets,report]' './server[postgresql,s3,traces]'

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home --home-dir /var/lib/archpress archpress
COPY --from=build /opt/archpress /opt/archpress
# Nothing is written but the state and what /tmp holds: the root file system may be read-only.
ENV PATH=/opt/archpress/bin:$PATH \
    HOME=/var/lib/archpress \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ARCHPRESS_HOST=0.0.0.0 ARCHPRESS_METRICS_HOST=0.0.0.0 \
    ARCHPRESS_STATE_DIR=/var/lib/archpress/state
USER 10001
WORKDIR /var/lib/archpress
VOLUME /var/lib/archpress
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["archpress-server", "health"]
# SIGTERM drains: no new jobs, running ones go back to the queue.
STOPSIGNAL SIGTERM
ENTRYPOINT ["archpress-server"]
