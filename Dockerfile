# Claude Relay in a container: docs/operating.md, "In a container". With Compose: `docker compose up -d`.
ARG PYTHON=python:3.13.9-slim-trixie
FROM ${PYTHON}

ENV HOME=/data \
    PIP_NO_CACHE_DIR=1 \
    RELAY_CONFIG=/etc/claude-relay/relay.yaml

# An account of its own: what it may write to is /data.
RUN groupadd --system --gid 10001 relay \
    && useradd --system --uid 10001 --gid relay --home-dir /data --no-create-home --shell /usr/sbin/nologin relay \
    && install --directory --owner=relay --group=relay --mode=0700 /data

WORKDIR /opt/claude-relay

# What the lock file names, each package by its hash. A layer of its own, so that new code installs nothing anew.
COPY requirements.lock ./
COPY scripts/lib/install.py scripts/lib/
RUN python scripts/lib/install.py . requirements.lock

COPY pyproject.toml LICENSE ./
COPY scripts scripts/
COPY addon addon/
RUN .venv/bin/python -m compileall -q addon scripts/lib
COPY docker/relay.yaml /etc/claude-relay/

USER 10001:10001
VOLUME /data
EXPOSE 8080 8082 8083

HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/opt/claude-relay/.venv/bin/python", "-I", "/opt/claude-relay/scripts/lib/healthy.py"]

ENTRYPOINT ["/opt/claude-relay/scripts/relay"]
