package channeltest

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"time"

	"github.com/dawsos/dawsos/internal/delivery"
)

// HTTP is the wire of channels that post.
var HTTP Wire = httpWire{}

type httpWire struct{}

func tlsListener(l net.Listener, certificates []tls.Certificate) net.Listener {
	return tls.NewListener(l, &tls.Config{Certificates: certificates, MinVersion: tls.VersionTLS12})
}

func (httpWire) answers() []answer {
	statuses := []struct {
		status int
		cause  delivery.Cause
		retry  bool
	}{
		{200, delivery.None, false},
		{202, delivery.None, false},
		{204, delivery.None, false},
		{300, delivery.Rejected, false},
		{302, delivery.Rejected, false},
		{308, delivery.Rejected, false},
		{400, delivery.HTTP4xx, false},
		{401, delivery.HTTP4xx, false},
		{404, delivery.HTTP4xx, false},
		{408, delivery.HTTP4xx, true},
		{410, delivery.HTTP4xx, false},
		{422, delivery.HTTP4xx, false},
		{425, delivery.HTTP4xx, true},
		{429, delivery.HTTP429, true},
		{500, delivery.HTTP5xx, true},
		{502, delivery.HTTP5xx, true},
		{503, delivery.HTTP5xx, true},
		{504, delivery.HTTP5xx, true},
	}
	var all []answer
	for _, s := range statuses {
		all = append(all, answer{
			name: strconv.Itoa(s.status), script: script{status: s.status, header: "Location: /elsewhere\r\n"},
			cause: s.cause, retry: s.retry,
		})
	}
	for _, status := range []int{429, 503} {
		cause := delivery.HTTP5xx
		if status == http.StatusTooManyRequests {
			cause = delivery.HTTP429
		}
		for _, a := range []struct {
			name, value string
			least, most time.Duration
		}{
			{"in seconds", "120", 2 * time.Minute, 2 * time.Minute},
			{"in seconds and parts of one", "1.25", 2 * time.Second, 2 * time.Second},
			{"at a date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 50 * time.Minute, time.Hour},
			{"at a date that has passed", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), 0, 0},
			{"below zero", "-30", 0, 0},
			{"in words", "tomorrow", 0, 0},
		} {
			all = append(all, answer{
				name:   fmt.Sprintf("%d, Retry-After %s", status, a.name),
				script: script{status: status, header: "Retry-After: " + a.value + "\r\n"},
				cause:  cause, retry: true, least: a.least, most: a.most,
			})
		}
	}
	// Nobody waits for what is refused for good, or has arrived.
	all = append(all,
		answer{name: "400, Retry-After", script: script{status: 400, header: "Retry-After: 60\r\n"}, cause: delivery.HTTP4xx},
		answer{name: "200, Retry-After", script: script{status: 200, header: "Retry-After: 60\r\n"}, cause: delivery.None})
	return all
}

func (httpWire) slow() delivery.Cause { return delivery.HTTP5xx } // the status has been said

func (httpWire) quoting() script { return script{status: 500, quote: true} }

func (httpWire) converse(conn net.Conn, s script, record func(string)) {
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		told, err := httputil.DumpRequest(req, true)
		if err != nil {
			return
		}
		record(cmp.Or(req.Header.Get("Webhook-Id"), req.Header.Get("Idempotency-Key")))
		status, body := cmp.Or(s.status, http.StatusOK), []byte("words of the receiver")
		if s.quote {
			// As it was written, and as a server shows it that has parsed it.
			body = fmt.Appendf(told, "\nno %s at %s", req.URL.Path, req.URL)
		}
		if status == http.StatusNoContent {
			body = nil
		}
		var out bytes.Buffer
		fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
		switch s.fault {
		case silent:
			_, _ = io.Copy(io.Discard, in)
			return
		case reset:
			_, _ = conn.Write(out.Bytes())
			resetConn(conn)
			return
		case slow:
			fmt.Fprintf(&out, "Content-Length: 1000\r\n\r\npart")
			_, _ = conn.Write(out.Bytes())
			_, _ = io.Copy(io.Discard, in)
			return
		}
		out.WriteString(s.header)
		if status != http.StatusNoContent {
			fmt.Fprintf(&out, "Content-Length: %d\r\n", len(body))
		}
		out.WriteString("\r\n")
		out.Write(body)
		if _, err := conn.Write(out.Bytes()); err != nil {
			return
		}
	}
}
