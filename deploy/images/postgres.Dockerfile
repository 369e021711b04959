# PostgreSQL on the same base as the rest, for the compose file's profile. Where there is a server
# of version 15 or later already, its URL is all that the coordinator needs.
ARG BASE_IMAGE=python:3.12-slim
FROM ${BASE_IMAGE}
# hadolint ignore=DL3008
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends postgresql \
 && rm -rf /var/lib/apt/lists/* /etc/postgresql /var/lib/postgresql/* \
 && ln -s /usr/lib/postgresql/*/bin /opt/postgresql \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/postgresql --shell /usr/sbin/nologin riskweave \
 && install -d -o riskweave -g riskweave -m 0700 /var/lib/postgresql/data /run/pgpass \
 && install -d -o riskweave -g riskweave /run/postgresql
COPY deploy/bin/run-postgres /usr/local/bin/run-postgres
ENV PATH=/opt/postgresql:/usr/local/bin:/usr/bin:/bin
USER 10001:10001
STOPSIGNAL SIGINT
ENTRYPOINT ["run-postgres"]
