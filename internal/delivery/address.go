package delivery

import (
	"net/url"
	"strings"
)

// ShownURL is what may be told of a webhook's address. Receivers keep tokens in paths as well as in queries
// (those of chat services do), so that it ends with the host. It returns "" for what is no address.
func ShownURL(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return ""
	}
	shown := u.Scheme + "://" + u.Host
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		shown += "/…"
	}
	return shown
}
