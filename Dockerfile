# syntax=docker/dockerfile:1

# Both binaries and what they read at run time; which one runs is the command:
#   docker build -t dawsos --build-arg VERSION=1.2.3 --build-arg COMMIT=$(git rev-parse HEAD) .
#   docker run dawsos                   the API on :8000
#   docker run dawsos api migrate       the schema, once
#   docker run dawsos worker            the worker on :8001
#   docker run dawsos api healthcheck   what a health check runs: there is no shell in the image

FROM golang:1.26.8-bookworm AS build
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
FROM gcr.io/distroless/static-debian12:nonroot@sha256:afa5c872c891853ca7fcf1f12c3edb23f7eeef36189728842dd51042ff57f7ab
COPY --from=build /out/api /out/worker /usr/local/bin/
COPY configs/agents.yaml /app/configs/agents.yaml
COPY configs/analytics /app/configs/analytics
COPY configs/patterns /app/configs/patterns
WORKDIR /app
ENV ENVIRONMENT=production
EXPOSE 8000 8001
CMD ["api"]
