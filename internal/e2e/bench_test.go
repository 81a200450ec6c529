package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// BenchmarkTelemetry is execute of portfolio_overview by a real process, cached and uncached, with traces
// and logs on their way to a collector that throws them away, and without. What the collector itself costs
// is small, and within it. Compare the figures of one run.
func BenchmarkTelemetry(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	collector := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		return stream.SendMsg(&emptypb.Empty{})
	}))
	go func() { _ = collector.Serve(listener) }()
	b.Cleanup(collector.Stop)

	for _, cache := range []struct{ name, size string }{{"cached", "64MiB"}, {"uncached", "0"}} {
		for _, side := range []struct{ name, collector string }{{"off", ""}, {"on", listener.Addr().String()}} {
			databaseURL, portfolio := loaded(b)
			s := prepare(b, databaseURL, "LOG_LEVEL=info", "PATTERN_CACHE_SIZE="+cache.size, "OTLP_ENDPOINT="+side.collector)
			s.startAPI()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			address := "http://" + s.apiAddr + "/v1/patterns/portfolio_overview/execute"
			body := fmt.Appendf(nil, `{"inputs": {"portfolio_id": %q}}`, portfolio)
			b.Run(cache.name+"/"+side.name, func(b *testing.B) {
				b.SetParallelism(8)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := post(client, address, body); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
			})
			client.CloseIdleConnections()
			s.api.kill()
		}
	}
}

func post(client *http.Client, address string, body []byte) error {
	resp, err := client.Post(address, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return err
}
