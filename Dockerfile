# syntax=docker/dockerfile:1

# Both binaries and what they read at run time; which one runs is the command:
#   docker build -t dawsos --build-arg VERSION=1.2.3 --build-arg COMMIT=$(git rev-parse HEAD) .
#   docker run dawsos                   the API on :8000
#   docker run dawsos api migrate       the schema, once
#   docker run dawsos worker            the worker on :8001
# There is no shell in the image, so health checks ask /healthz from outside.

FROM golang:1.26-bookworm AS build
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

# Certificates and time zones, no shell, an account without rights.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/api /out/worker /usr/local/bin/
COPY configs/agents.yaml /app/configs/agents.yaml
COPY configs/patterns /app/configs/patterns
WORKDIR /app
ENV ENVIRONMENT=production
EXPOSE 8000 8001
CMD ["api"]
