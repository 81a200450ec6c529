package app

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/dawsos/dawsos/internal/config"
)

// healthcheckTimeout bounds the question and its answer. /healthz has nothing to wait for.
const healthcheckTimeout = 3 * time.Second

// Healthcheck asks /healthz of the API or the worker with these settings on this machine. The error says
// why it can't be called alive. It is what a container's health check runs: the image has neither a
// shell nor another program that could ask.
func Healthcheck(ctx context.Context, process config.Role, getenv func(string) string) error {
	cfg, err := config.Load(getenv, config.Healthcheck)
	if err != nil {
		return err
	}
	addr := cmp.Or(cfg.MetricsAddr, cfg.APIAddr)
	if process == config.Worker {
		addr = cfg.WorkerAddr
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() { // it listens everywhere, here too
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	// Not the default one: it would go through a proxy that the environment names.
	transport, scheme := &http.Transport{DisableKeepAlives: true}, "http"
	if cfg.TLSCertFile != "" {
		scheme = "https"
		if transport.TLSClientConfig, err = ownCertificate(cfg.TLSCertFile); err != nil {
			return fmt.Errorf("TLS_CERT_FILE=%s: %w", cfg.TLSCertFile, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", req.URL, resp.Status)
	}
	return nil
}
