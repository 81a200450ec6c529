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
// text names the rule that refused it and the setting that would change that, never the address: what
// a name resolves to inside our network is not for the person who typed the name.
type RefusedError struct {
	Addr    netip.Addr // zero when the host was refused by its name, before it was resolved
	Network Network
	// Unlisted means that the address may be dialed as far as its network goes, but is not in the
	// allow-list.
	Unlisted bool
	// Setting names what an operator would change to have the address allowed; "" when nothing does, or
	// when the policy does not tell.
	Setting string
}

func (e *RefusedError) Error() string {
	text := ErrRefused.Error() + ": "
	switch {
	case e.Unlisted && e.Setting != "":
		return text + "it is not in the list that " + e.Setting + " allows"
	case e.Unlisted:
		return text + "it is not in the list of those that are allowed"
	}
	text += fmt.Sprintf("it belongs to a %s network", e.Network)
	switch {
	case e.Setting != "":
		return text + ", and " + e.Setting + " is off"
	case e.Network.never():
		return text + ", which no setting allows"
	}
	return text
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
	Tunnel      Network = "tunnel"       // Teredo: an IPv4 address, hidden in an IPv6 one
	NotIP       Network = "unrecognised" // not an IP address at all
)

// never reports whether an address of the network is refused whatever a policy allows.
func (n Network) never() bool { return severity[n] == refusedAlways }

// severity orders networks by who may reach them, for addresses that carry others.
var severity = map[Network]int{
	Public: 0, Loopback: 1, Private: 1, Shared: 1, Reserved: 1,
	LinkLocal: refusedAlways, Metadata: refusedAlways, Multicast: refusedAlways, Unspecified: refusedAlways,
	Tunnel: refusedAlways, NotIP: refusedAlways,
}

const refusedAlways = 2

// Policy says where connections may go. There are two kinds of addresses:
//
//   - those that a user typed, of webhooks and chat services. They may be public only, unless the
//     operator allows private ones, and may be narrowed further by Allow;
//   - those that an operator wrote into the settings: the mail server, remote agents, the model, the API
//     itself. They may be in private networks, as such services are.
//
// Link-local, metadata, multicast, unspecified and tunneled addresses are refused to both: no receiver
// lives there, and what does hands out credentials.
type Policy struct {
	// AllowPrivate permits what only this machine or its own network can reach.
	AllowPrivate bool

	// Allow, unless it is empty, is all that may be reached. It only narrows: a private address in it
	// needs AllowPrivate as well.
	Allow AllowList

	// PrivateSetting and AllowSetting name the settings that AllowPrivate and Allow come from, so that
	// a refusal can tell which one to change. "" for those that can't be changed.
	PrivateSetting, AllowSetting string
}

// Check returns a [RefusedError] when addr must not be connected to. The allow-list is not asked: it is
// about names as well, see [NewClient].
func (p Policy) Check(addr netip.Addr) error {
	network := NetworkOf(addr)
	if network == Public || (p.AllowPrivate && !network.never()) {
		return nil
	}
	refused := &RefusedError{Addr: addr, Network: network}
	if !network.never() {
		refused.Setting = p.PrivateSetting
	}
	return refused
}

// NetworkOf returns the kind of network that addr belongs to. An IPv6 address that carries an
// IPv4 one, because a translator or tunnel would unpack it, is judged by the latter. Where that is only
// likely, it is judged by the stricter of the two.
func NetworkOf(addr netip.Addr) Network {
	if !addr.IsValid() {
		return NotIP
	}
	addr = embedded(addr.WithZone(""))
	network := lookup(addr)
	for _, v4 := range likely(addr) {
		inner := lookup(v4)
		if inner == Unspecified || inner == Multicast { // zeros and ones are there by chance
			continue
		}
		if severity[inner] > severity[network] {
			network = inner
		}
	}
	return network
}

func lookup(addr netip.Addr) Network {
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

// embedded returns the IPv4 address that addr stands for, or addr.
func embedded(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return addr
	}
	b := addr.As16()
	switch {
	case addr.Is4In6(): // ::ffff:a.b.c.d
		return addr.Unmap()
	case nat64.Contains(addr), translated.Contains(addr), compatible.Contains(addr) && !slices.Contains(lowest, addr):
		return netip.AddrFrom4([4]byte(b[12:]))
	case sixToFour.Contains(addr): // 2002:aabb:ccdd::
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return addr
}

// likely returns the IPv4 addresses that addr may carry besides what it is.
func likely(addr netip.Addr) []netip.Addr {
	if addr.Is4() {
		return nil
	}
	b := addr.As16()
	last := netip.AddrFrom4([4]byte(b[12:]))
	switch {
	case localNAT64.Contains(addr): // a network's own prefix, of one of these lengths (RFC 6052, 2.2)
		return []netip.Addr{
			last, // 96 bits
			netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}),   // 48
			netip.AddrFrom4([4]byte{b[7], b[9], b[10], b[11]}),  // 56
			netip.AddrFrom4([4]byte{b[9], b[10], b[11], b[12]}), // 64
		}
	case b[8]&^0x03 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP, RFC 5214
		return []netip.Addr{last}
	}
	return nil
}

var (
	nat64         = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	localNAT64    = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	translated    = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765, deprecated
	sixToFour     = netip.MustParsePrefix("2002::/16")       // RFC 3056
	compatible    = netip.MustParsePrefix("::/96")           // RFC 4291, deprecated
	globalUnicast = netip.MustParsePrefix("2000::/3")        // all that IANA has opened

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
	{netip.MustParsePrefix("fd00:42::42/128"), Metadata},    // Scaleway
	{netip.MustParsePrefix("fd00:c1::/32"), Metadata},       // Oracle Cloud

	{netip.MustParsePrefix("0.0.0.0/8"), Unspecified}, // "this network"
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
	{netip.MustParsePrefix("2001::/32"), Tunnel},       // Teredo, RFC 4380
	{netip.MustParsePrefix("2001::/23"), Reserved},     // protocol assignments
	{netip.MustParsePrefix("2001:db8::/32"), Reserved}, // documentation
	{netip.MustParsePrefix("3fff::/20"), Reserved},     // documentation
}
