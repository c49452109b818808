# The server with its trainer. Build from the root of the repository:
#   docker build -t archpress-server .
# TORCH_PIP_ARGS goes to pip before `torch torchvision`, to choose an index with another build.

FROM python:3.12-slim AS build
ARG TORCH_PIP_ARGS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/archpress
RUN /opt/archpress/bin/pip install ${TORCH_PIP_ARGS} torch torchvision
WORKDIR /src
COPY constraints.txt .
COPY proto proto
COPY trainer trainer
COPY server server
RUN /opt/archpress/bin/pip install -c constraints.txt ./proto './trainer[datasets]' ./server

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/archpress archpress
COPY --from=build /opt/archpress /opt/archpress
ENV PATH=/opt/archpress/bin:$PATH PYTHONUNBUFFERED=1 \
    ARCHPRESS_HOST=0.0.0.0 ARCHPRESS_METRICS_HOST=0.0.0.0
USER archpress
WORKDIR /var/lib/archpress
VOLUME /var/lib/archpress
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["archpress-server", "health"]
# SIGTERM drains: no new jobs, running ones go back to the queue.
STOPSIGNAL SIGTERM
ENTRYPOINT ["archpress-server"]
