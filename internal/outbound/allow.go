package outbound

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// AllowList says which hosts may be reached. The empty one allows all.
type AllowList struct {
	exact    map[string]bool // names in lower case, without the dot at the end
	suffixes []string        // ".example.org": what *.example.org allows
	prefixes []netip.Prefix
}

const (
	// MaxAllowed bounds the entries of a list.
	MaxAllowed = 200
	maxName    = 253 // characters of a name, RFC 1035
)

// ParseAllowList reads entries parted by commas: names of hosts, *.name for all below a name (but not
// the name itself), addresses and CIDR ranges. The empty text is the empty list.
func ParseAllowList(text string) (AllowList, error) {
	var l AllowList
	if strings.TrimSpace(text) == "" {
		return l, nil
	}
	entries := strings.Split(text, ",")
	if len(entries) > MaxAllowed {
		return AllowList{}, fmt.Errorf("more than %d entries", MaxAllowed)
	}
	l.exact = make(map[string]bool, len(entries))
	for i, entry := range entries {
		if err := l.add(strings.TrimSpace(entry)); err != nil {
			return AllowList{}, fmt.Errorf("entry %d: %w", i+1, err)
		}
	}
	return l, nil
}

func (l *AllowList) add(entry string) error {
	if strings.Contains(entry, "/") {
		prefix, err := netip.ParsePrefix(entry)
		switch {
		case err != nil:
			return errors.New("not a range such as 10.1.0.0/16")
		case prefix != prefix.Masked():
			return fmt.Errorf("bits are set behind the range's length; %s may be meant", prefix.Masked())
		case prefix.Addr().Is4In6():
			return errors.New("write an IPv4 range as one")
		}
		l.prefixes = append(l.prefixes, prefix)
		return nil
	}
	if addr, err := netip.ParseAddr(strings.Trim(entry, "[]")); err == nil {
		if addr.Zone() != "" {
			return errors.New("an address must not have a zone")
		}
		addr = addr.Unmap()
		l.prefixes = append(l.prefixes, netip.PrefixFrom(addr, addr.BitLen()))
		return nil
	}
	name, below := strings.CutPrefix(entry, "*.")
	name = canonical(name)
	if !isName(name) {
		return errors.New("not a host's name, *.name, address or range")
	}
	if below {
		l.suffixes = append(l.suffixes, "."+name)
		return nil
	}
	l.exact[name] = true
	return nil
}

// canonical is a name as lists are matched: case and the dot of the root mean nothing.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// isName wants letters, digits, hyphens and underscores in labels of 1 to 63 characters, the last one
// not all digits: that would be an odd spelling of an address. Names in other scripts are written as
// they are resolved, "xn--...".
func isName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	last := labels[len(labels)-1]
	return strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(last, "0x")
}

// Empty reports whether the list allows all.
func (l AllowList) Empty() bool {
	return len(l.exact) == 0 && len(l.suffixes) == 0 && len(l.prefixes) == 0
}

// names reports whether the list has the name of a host.
func (l AllowList) names(host string) bool {
	host = canonical(host)
	if l.exact[host] {
		return true
	}
	for _, suffix := range l.suffixes {
		if len(host) > len(suffix) && strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

// contains reports whether an address is in one of the list's ranges.
func (l AllowList) contains(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, prefix := range l.prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
