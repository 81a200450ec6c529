package outbound

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAllowList(t *testing.T) {
	t.Parallel()

	l, err := ParseAllowList("hooks.example.org, *.Slack.com. ,10.1.0.0/16,192.0.2.7,fd12::/16,[2001:db8::1],my_host")
	require.NoError(t, err)
	require.False(t, l.Empty())
	for host, want := range map[string]bool{
		"hooks.example.org": true, "HOOKS.example.org.": true, "my_host": true,
		"a.hooks.example.org": false, "hooks.example.org.evil.test": false, "xhooks.example.org": false,
		"api.slack.com": true, "a.b.slack.com.": true, "slack.com": false, "notslack.com": false, ".slack.com": false,
		"": false, ".": false, "10.1.2.3": false,
	} {
		require.Equal(t, want, l.names(host), "%q", host)
	}
	for addr, want := range map[string]bool{
		"10.1.255.255": true, "10.2.0.0": false, "192.0.2.7": true, "192.0.2.8": false, "::ffff:10.1.2.3": true,
		"fd12::1": true, "2001:db8::1": true, "2001:db8::2": false,
	} {
		require.Equal(t, want, l.contains(netip.MustParseAddr(addr)), addr)
	}

	for _, text := range []string{"", "  "} {
		l, err := ParseAllowList(text)
		require.NoError(t, err)
		require.True(t, l.Empty())
	}
	for _, bad := range []string{
		",", "a,,b", "*", "*.", "*.*.example.org", "a.*.org", "http://example.org", "example.org:443", "exa mple.org",
		"10.1.2.3/16", "10.1.0.0/33", "::ffff:10.0.0.0/104", "fe80::1%eth0", "127.1", "2130706433", "0x7f000001", "0177.0.0.1",
		"bücher.example", strings.Repeat("a", 64), strings.Repeat("a,", MaxAllowed) + "a",
	} {
		_, err := ParseAllowList(bad)
		require.Error(t, err, "%q", bad)
	}
}

// FuzzAllowList: what is read allows no name that does not end as one of its entries does.
func FuzzAllowList(f *testing.F) {
	f.Add("hooks.example.org,*.slack.com,10.0.0.0/8", "api.slack.com")
	f.Add("*.a", "b.a.")
	f.Fuzz(func(t *testing.T, text, host string) {
		l, err := ParseAllowList(text)
		if err != nil {
			require.True(t, l.Empty())
			return
		}
		require.Equal(t, strings.TrimSpace(text) == "", l.Empty())
		if !l.names(host) {
			return
		}
		ends := false
		for entry := range strings.SplitSeq(text, ",") {
			entry = canonical(strings.TrimSpace(entry))
			suffix, below := strings.CutPrefix(entry, "*")
			ends = ends || canonical(host) == entry || (below && strings.HasSuffix(canonical(host), suffix))
		}
		require.True(t, ends, "%q allows %q", text, host)
	})
}
