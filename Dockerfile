# syntax=docker/dockerfile:1

# Two images of the same programs and of what they read at run time; which program runs is the command.
# The API's is the last stage, which a build without --target makes:
#   docker build -t dawsos --build-arg VERSION=1.2.3 --build-arg COMMIT=$(git rev-parse HEAD) .
#   docker run dawsos                   the API on :8000
#   docker run dawsos api migrate       the schema, once
#   docker run dawsos api healthcheck   what a health check runs: there is no shell in the image
# The worker's has pg_dump besides:
#   docker build -t dawsos-worker --target worker ...
#   docker run -v backups:/backups -e BACKUP_DIR=/backups dawsos-worker   the worker on :8001

FROM golang:1.26.11-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=""
ARG COMMIT=""
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/dawsos/dawsos/internal/app.Version=${VERSION} -X github.com/dawsos/dawsos/internal/app.Commit=${COMMIT}" \
    -o /out/ ./cmd/api ./cmd/worker

# Certificates and time zones, no shell, an account without rights. By digest: its tags move.
FROM gcr.io/distroless/static-debian12:nonroot@sha256:afa5c872c891853ca7fcf1f12c3edb23f7eeef36189728842dd51042ff57f7ab AS static

# pg_dump must not be older than the server: the server's own image, the one of compose.yaml.
FROM postgres:15.18-bookworm AS worker
# It comes without, and the worker sends to https.
COPY --from=static /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/api /out/worker /usr/local/bin/
COPY configs/agents.yaml /app/configs/agents.yaml
COPY configs/analytics /app/configs/analytics
COPY configs/patterns /app/configs/patterns
# A new volume that is mounted here is the worker's, as the folder is.
RUN mkdir -m 0700 /backups && chown 65532:65532 /backups
WORKDIR /app
USER 65532:65532
# The programs themselves and not Debian's wrappers around them, which ask who the account is.
ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin
ENV ENVIRONMENT=production
EXPOSE 8001
STOPSIGNAL SIGTERM
ENTRYPOINT []
CMD ["worker"]

FROM static AS api
COPY --from=build /out/api /out/worker /usr/local/bin/
COPY configs/agents.yaml /app/configs/agents.yaml
COPY configs/analytics /app/configs/analytics
COPY configs/patterns /app/configs/patterns
WORKDIR /app
# The image's own account, by number: whoever forbids root does not have to look up a name.
USER 65532:65532
ENV ENVIRONMENT=production
EXPOSE 8000
CMD ["api"]
