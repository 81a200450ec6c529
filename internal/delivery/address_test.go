package delivery_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/delivery"
)

func TestShownURL(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://hooks.example.org/services/T0/s3cr3t?x=s3cr3t#s3cr3t": "https://hooks.example.org/…",
		"https://hooks.example.org:8443/":                              "https://hooks.example.org:8443",
		"https://hooks.example.org":                                    "https://hooks.example.org",
		"https://hooks.example.org?s3cr3t":                             "https://hooks.example.org/…",
		"https://s3cr3t:s3cr3t@hooks.example.org":                      "https://hooks.example.org",
		"http://[::1]:9/s3cr3t":                                        "http://[::1]:9/…",
		"s3cr3t":                                                       "", "": "", "http://[s3cr3t": "", "mailto:s3cr3t": "",
	} {
		require.Equal(t, want, delivery.ShownURL(address), address)
	}
}
