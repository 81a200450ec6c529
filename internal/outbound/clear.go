package outbound

import (
	"net/netip"
	"net/url"
	"strings"
)

// InTheClear reports whether what is sent to an address can be read on its way: it is plain HTTP, and
// not to this machine. Of names only localhost is this machine (RFC 6761); what another one resolves to
// may change. An address that can't be read is nothing to send to, and not in the clear.
func InTheClear(address string) bool {
	u, err := url.Parse(address)
	if err != nil || !strings.EqualFold(u.Scheme, "http") {
		return false
	}
	host := canonical(u.Hostname())
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err != nil || NetworkOf(addr) != Loopback
}
