package outbound

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// ErrRefused is what a [RefusedError] matches.
var ErrRefused = errors.New("address refused")

// RefusedError reports that a connection was not made because of where it would have gone. Its
// text names the kind of network, never the address: what a name resolves to inside our network
// is not for the person who typed the name.
type RefusedError struct {
	Addr    netip.Addr
	Network Network
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%v: it belongs to a %s network", ErrRefused, e.Network)
}

// Is reports whether target is [ErrRefused].
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// Network is a kind of network that an address belongs to.
type Network string

// The kinds of networks. All but Public are refused by default.
const (
	Public      Network = "public"
	Loopback    Network = "loopback"
	Private     Network = "private"      // RFC 1918, unique local, and what else is routed only inside
	Shared      Network = "shared"       // between a carrier and its customers, RFC 6598
	LinkLocal   Network = "link-local"   // where clouds answer with credentials
	Metadata    Network = "metadata"     // clouds' metadata services outside the link-local networks
	Multicast   Network = "multicast"    // broadcast included
	Unspecified Network = "unspecified"  // "this host": reaches loopback
	Reserved    Network = "reserved"     // documentation, benchmarks, protocol assignments, future use
	NotIP       Network = "unrecognised" // not an IP address at all
)

// Policy says where connections may go.
type Policy struct {
	// AllowPrivate permits what only this machine or its own network can reach. Link-local,
	// metadata, multicast and unspecified addresses stay refused: no receiver lives there.
	AllowPrivate bool
}

// Check returns a [RefusedError] when addr must not be connected to.
func (p Policy) Check(addr netip.Addr) error {
	network := NetworkOf(addr)
	switch network {
	case Public:
		return nil
	case Loopback, Private, Shared, Reserved:
		if p.AllowPrivate {
			return nil
		}
	}
	return &RefusedError{Addr: addr, Network: network}
}

// NetworkOf returns the kind of network that addr belongs to. An IPv6 address that carries an
// IPv4 one, because a translator or tunnel would unpack it, is judged by the latter.
func NetworkOf(addr netip.Addr) Network {
	if !addr.IsValid() {
		return NotIP
	}
	addr = embedded(addr.WithZone(""))
	for _, row := range networks {
		if row.prefix.Contains(addr) {
			return row.network
		}
	}
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return Reserved
	}
	return Public
}

// embedded returns the IPv4 address that addr carries, or addr.
func embedded(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return addr
	}
	b := addr.As16()
	switch {
	case addr.Is4In6(): // ::ffff:a.b.c.d
		return addr.Unmap()
	case nat64.Contains(addr), compatible.Contains(addr) && !slices.Contains(lowest, addr):
		return netip.AddrFrom4([4]byte(b[12:]))
	case sixToFour.Contains(addr): // 2002:aabb:ccdd::
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return addr
}

var (
	nat64         = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixToFour     = netip.MustParsePrefix("2002::/16")    // RFC 3056
	compatible    = netip.MustParsePrefix("::/96")        // RFC 4291, deprecated
	globalUnicast = netip.MustParsePrefix("2000::/3")     // all that IANA has opened

	// lowest stand inside compatible, but mean what they say.
	lowest = []netip.Addr{netip.IPv6Unspecified(), netip.IPv6Loopback()}
)

type namedNetwork struct {
	prefix  netip.Prefix
	network Network
}

// networks lists what is not public, after IANA's IPv4 and IPv6 Special-Purpose Address
// Registries. The first row that contains an address decides.
var networks = []namedNetwork{
	// Metadata services at addresses that look harmless.
	{netip.MustParsePrefix("100.100.100.200/32"), Metadata}, // Alibaba Cloud
	{netip.MustParsePrefix("168.63.129.16/32"), Metadata},   // Azure's platform channel
	{netip.MustParsePrefix("192.0.0.192/32"), Metadata},     // Oracle Cloud
	{netip.MustParsePrefix("fd00:ec2::/32"), Metadata},      // AWS
	{netip.MustParsePrefix("fd20:ce::254/128"), Metadata},   // Google Cloud

	{netip.MustParsePrefix("0.0.0.0/32"), Unspecified},
	{netip.MustParsePrefix("0.0.0.0/8"), Reserved}, // "this network"
	{netip.MustParsePrefix("10.0.0.0/8"), Private},
	{netip.MustParsePrefix("100.64.0.0/10"), Shared},
	{netip.MustParsePrefix("127.0.0.0/8"), Loopback},
	{netip.MustParsePrefix("169.254.0.0/16"), LinkLocal}, // 169.254.169.254 among them
	{netip.MustParsePrefix("172.16.0.0/12"), Private},
	{netip.MustParsePrefix("192.0.0.0/24"), Reserved},    // protocol assignments
	{netip.MustParsePrefix("192.0.2.0/24"), Reserved},    // documentation
	{netip.MustParsePrefix("192.88.99.0/24"), Reserved},  // 6to4 relays, deprecated
	{netip.MustParsePrefix("192.168.0.0/16"), Private},   //
	{netip.MustParsePrefix("198.18.0.0/15"), Reserved},   // benchmarks
	{netip.MustParsePrefix("198.51.100.0/24"), Reserved}, // documentation
	{netip.MustParsePrefix("203.0.113.0/24"), Reserved},  // documentation
	{netip.MustParsePrefix("224.0.0.0/4"), Multicast},
	{netip.MustParsePrefix("255.255.255.255/32"), Multicast}, // broadcast
	{netip.MustParsePrefix("240.0.0.0/4"), Reserved},         // future use

	{netip.MustParsePrefix("::/128"), Unspecified},
	{netip.MustParsePrefix("::1/128"), Loopback},
	{netip.MustParsePrefix("64:ff9b:1::/48"), Private}, // a network's own NAT64
	{netip.MustParsePrefix("fc00::/7"), Private},       // unique local
	{netip.MustParsePrefix("fec0::/10"), Private},      // site-local, deprecated
	{netip.MustParsePrefix("fe80::/10"), LinkLocal},
	{netip.MustParsePrefix("ff00::/8"), Multicast},
	{netip.MustParsePrefix("2001::/23"), Reserved},     // protocol assignments, Teredo among them
	{netip.MustParsePrefix("2001:db8::/32"), Reserved}, // documentation
	{netip.MustParsePrefix("3fff::/20"), Reserved},     // documentation
}
