package outbound

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPolicy(t *testing.T) {
	t.Parallel()

	const (
		always  = "always"  // allowed under both policies
		private = "private" // allowed with AllowPrivate
		never   = "never"
	)
	tests := []struct {
		addr    string
		network Network
		allowed string
	}{
		{"8.8.8.8", Public, always},
		{"1.1.1.1", Public, always},
		{"2606:4700:4700::1111", Public, always},
		{"172.15.255.255", Public, always},
		{"172.32.0.0", Public, always},
		{"100.63.255.255", Public, always},
		{"100.128.0.0", Public, always},
		{"223.255.255.255", Public, always},

		{"127.0.0.1", Loopback, private},
		{"127.255.255.254", Loopback, private},
		{"::1", Loopback, private},
		{"10.1.2.3", Private, private},
		{"172.16.0.1", Private, private},
		{"172.31.255.255", Private, private},
		{"192.168.1.1", Private, private},
		{"fd12:3456::1", Private, private},
		{"fec0::1", Private, private},
		{"64:ff9b:1::a00:1", Private, private},
		{"100.64.0.1", Shared, private},
		{"192.0.2.1", Reserved, private},
		{"198.18.0.1", Reserved, private},
		{"240.0.0.1", Reserved, private},
		{"2001:db8::1", Reserved, private},
		{"2001:1::1", Reserved, private},
		{"4000::1", Reserved, private},
		{"100::1", Reserved, private},

		{"192.0.0.8", Reserved, private},
		{"192.88.99.1", Reserved, private},
		{"198.19.255.255", Reserved, private},
		{"198.51.100.1", Reserved, private},
		{"203.0.113.1", Reserved, private},
		{"255.255.255.254", Reserved, private},
		{"100.127.255.255", Shared, private},
		{"5f00::1", Reserved, private},
		{"3fff::1", Reserved, private},

		{"0.0.0.0", Unspecified, never},
		{"0.1.2.3", Unspecified, never},
		{"::", Unspecified, never},
		{"169.254.169.254", LinkLocal, never},
		{"169.254.170.2", LinkLocal, never},
		{"fe80::1%eth0", LinkLocal, never},
		{"fd00:ec2::254", Metadata, never},
		{"100.100.100.200", Metadata, never},
		{"168.63.129.16", Metadata, never},
		{"fd20:ce::254", Metadata, never},
		{"fd00:42::42", Metadata, never},
		{"fd00:c1::a9fe:a9fe", Metadata, never},
		{"fe80::a9fe:a9fe", LinkLocal, never},
		{"192.0.0.192", Metadata, never},
		{"224.0.0.1", Multicast, never},
		{"255.255.255.255", Multicast, never},
		{"ff02::1", Multicast, never},

		{"::ffff:127.0.0.1", Loopback, private},
		{"::ffff:169.254.169.254", LinkLocal, never},
		{"::ffff:8.8.8.8", Public, always},
		{"64:ff9b::169.254.169.254", LinkLocal, never},
		{"64:ff9b::10.0.0.1", Private, private},
		{"64:ff9b::8.8.8.8", Public, always},
		{"2002:7f00:1::", Loopback, private},
		{"2002:a9fe:a9fe::1", LinkLocal, never},
		{"::127.0.0.1", Loopback, private},
		{"::169.254.169.254", LinkLocal, never},
		{"::ffff:0:169.254.169.254", LinkLocal, never},
		{"::ffff:0:10.0.0.1", Private, private},
		{"64:ff9b:1::169.254.169.254", LinkLocal, never},
		{"64:ff9b:1:a9fe:a9:fe00::", LinkLocal, never},
		{"2001:0:7f00:1::", Tunnel, never},
		{"2001:0:808:808:0:0:f5ff:fffe", Tunnel, never}, // of 10.0.0.1
		{"2600::5efe:169.254.169.254", LinkLocal, never},
		{"2600::200:5efe:10.0.0.1", Private, private},
		{"2600::5efe:8.8.8.8", Public, always},
	}
	for _, test := range tests {
		t.Run(test.addr, func(t *testing.T) {
			t.Parallel()
			addr := netip.MustParseAddr(test.addr)
			require.Equal(t, test.network, NetworkOf(addr))
			require.Equal(t, test.allowed == always, Policy{}.Check(addr) == nil)
			require.Equal(t, test.allowed != never, Policy{AllowPrivate: true}.Check(addr) == nil)
		})
	}

	require.Equal(t, NotIP, NetworkOf(netip.Addr{}))
	require.ErrorIs(t, Policy{AllowPrivate: true}.Check(netip.Addr{}), ErrRefused)
}

func TestRefusalNamesTheNetworkOnly(t *testing.T) {
	t.Parallel()

	err := Policy{}.Check(netip.MustParseAddr("10.1.2.3"))
	require.ErrorIs(t, err, ErrRefused)
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, Private, refused.Network)
	require.EqualError(t, err, "address refused: it belongs to a private network")
}

// TestRefusalTellsTheSetting: who reads it learns what to change, where there is something to change.
func TestRefusalTellsTheSetting(t *testing.T) {
	t.Parallel()

	p := Policy{PrivateSetting: "WEBHOOK_ALLOW_PRIVATE", AllowSetting: "WEBHOOK_ALLOW"}
	require.EqualError(t, p.Check(netip.MustParseAddr("10.1.2.3")),
		"address refused: it belongs to a private network, and WEBHOOK_ALLOW_PRIVATE is off")
	require.EqualError(t, p.Check(netip.MustParseAddr("169.254.169.254")),
		"address refused: it belongs to a link-local network, which no setting allows")
	require.EqualError(t, p.unlisted(netip.Addr{}), "address refused: it is not in the list that WEBHOOK_ALLOW allows")
	require.EqualError(t, Policy{}.unlisted(netip.Addr{}), "address refused: it is not in the list of those that are allowed")
}

func TestCheckAddress(t *testing.T) {
	t.Parallel()

	require.NoError(t, Policy{}.checkAddress("tcp4", "8.8.8.8:443", false))
	for _, test := range []struct{ network, address string }{
		{"udp4", "8.8.8.8:53"},
		{"unix", "/run/x.sock"},
		{"tcp4", "8.8.8.8"},
		{"tcp4", "localhost:80"},
		{"tcp6", "[fe80::1%lo]:80"},
	} {
		require.ErrorIs(t, Policy{AllowPrivate: true}.checkAddress(test.network, test.address, false), ErrRefused, test.address)
	}
}

// FuzzPolicy holds the table against what must be true of every address.
func FuzzPolicy(f *testing.F) {
	for _, seed := range []string{"8.8.8.8", "10.0.0.1", "169.254.169.254", "255.255.255.255", "::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "fd00:ec2::254"} {
		f.Add(netip.MustParseAddr(seed).AsSlice())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		addr, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		strict, lax := Policy{}.Check(addr), Policy{AllowPrivate: true}.Check(addr)

		// What the standard library knows not to be public is refused.
		plain := addr.Unmap()
		if plain.IsPrivate() || plain.IsLoopback() || !plain.IsGlobalUnicast() {
			require.ErrorIs(t, strict, ErrRefused)
		}
		if plain.IsMulticast() || plain.IsUnspecified() || plain.IsLinkLocalUnicast() {
			require.ErrorIs(t, lax, ErrRefused)
		}
		// Allowing more allows no less.
		if strict == nil {
			require.NoError(t, lax)
		}
		// Nothing hides a link-local address from the laxest policy.
		if last := addr.AsSlice(); addr.Is6() && localNAT64.Contains(addr) && last[12] == 169 && last[13] == 254 {
			require.ErrorIs(t, lax, ErrRefused)
		}
		// However an IPv4 address is dressed up, it is judged alike.
		if plain.Is4() {
			v4 := plain.As4()
			var mapped, translated, tunneled [16]byte
			mapped[10], mapped[11] = 0xff, 0xff
			copy(mapped[12:], v4[:])
			copy(translated[:], []byte{0x00, 0x64, 0xff, 0x9b})
			copy(translated[12:], v4[:])
			copy(tunneled[:], []byte{0x20, 0x02})
			copy(tunneled[2:], v4[:])
			for _, dressed := range [][16]byte{mapped, translated, tunneled} {
				a := netip.AddrFrom16(dressed)
				require.Equal(t, NetworkOf(plain), NetworkOf(a), a.String())
			}
		}
	})
}
