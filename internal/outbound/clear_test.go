package outbound

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInTheClear(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"http://agents.example.org/x": true, "HTTP://10.0.0.1:9000": true, "http://0.0.0.0:9000": true, "http://localhost.example.org": true,
		"http://127.1": true, "http://research:9000": true, "http://[fe80::1%25lo]": true,
		"https://agents.example.org": false, "http://localhost:9000": false, "http://LOCALHOST.:9000": false, "http://a.localhost": false,
		"http://127.0.0.1:9000": false, "http://127.9.9.9": false, "http://[::1]:9000": false, "http://[::ffff:127.0.0.1]": false,
		"": false, "::": false,
	} {
		require.Equal(t, want, InTheClear(address), "%q", address)
	}
}
