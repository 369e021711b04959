# One image for each role: --build-arg ROLE=coordinator-postgres | node | networks | regulator.
# Small, non-root, for a read-only root file system; state is in /var/lib/riskweave.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
ARG ROLE=node
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE riskweave.py ./
COPY proto proto
COPY consortium consortium
COPY models models
COPY coordinator coordinator
COPY partner_node partner_node
COPY regulator regulator
COPY rehearsal rehearsal
COPY riskweave_client riskweave_client
COPY upkeep upkeep
RUN python3 -m venv /opt/riskweave \
 && /opt/riskweave/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt ".[${ROLE}]" \
 && /opt/riskweave/bin/pip uninstall --yes --disable-pip-version-check pip

FROM ${BASE_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/riskweave --shell /usr/sbin/nologin riskweave \
 && install -d -o riskweave -g riskweave -m 0700 /var/lib/riskweave \
 && install -d -o riskweave -g riskweave /identity /exchange /exchange/own /exchange/bank_a /exchange/bank_b /exchange/platform_c /exchange/platform_d /exchange/regulator /exchange/manifest /run/pgpass /data /data/bank_a /data/bank_b /data/platform_c /data/platform_d
COPY --from=build /opt/riskweave /opt/riskweave
COPY deploy/bin /opt/riskweave/bin
ENV PATH=/opt/riskweave/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/riskweave
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["riskweave"]
CMD ["--help"]
