package outbound_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// connectors are what makes a connection in the standard library, or something that does, by package.
var connectors = map[string][]string{
	"net/http": {"Client", "Transport", "DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm"},
	"net": {
		"Dialer", "Dial", "DialTimeout", "DialTCP", "DialUDP", "DialIP", "DialUnix", "Resolver", "LookupHost", "LookupIP", "LookupAddr",
	},
	"crypto/tls":             {"Dial", "DialWithDialer", "Dialer"},
	"net/smtp":               {"Dial", "SendMail"},
	"net/rpc":                {"Dial", "DialHTTP", "DialHTTPPath"},
	"net/http/httputil":      {"ReverseProxy", "NewSingleHostReverseProxy"},
	"log/syslog":             {"Dial", "New"},
	"google.golang.org/grpc": {"NewClient", "Dial", "DialContext"},
}

// ownWay lists the files that make connections without the guarded dialer, and why they may.
var ownWay = map[string]string{
	"internal/app/healthcheck.go":    "a container's health check asks its own process on loopback, and ends",
	"internal/delivery/chat/chat.go": "http.Client around a round tripper that hands each request to the guarded client, or sends nothing",
	"internal/cli/dlq.go":            "a command line program that asks the API at the address its user gives",
	"pkg/api/api.gen.go":             "the generated client of our own API, for others' programs; the processes do not use it",
}

// ownDirs are programs for development and measurements, which are in no process that serves.
var ownDirs = []string{"cmd/dev", "internal/apifuzz", "internal/loadtest", "internal/observability", "internal/devpg", "internal/dbtest"}

// TestOnlyWayOut walks the source: what makes connections is this package, or stands above with a reason.
func TestOnlyWayOut(t *testing.T) {
	t.Parallel()
	const root = "../.."
	found := map[string][]string{}
	files := 0
	for _, top := range []string{"cmd", "internal", "pkg", "sql"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			name = filepath.ToSlash(name)
			if strings.HasPrefix(name, "internal/outbound/") || slices.ContainsFunc(ownDirs, func(dir string) bool { return strings.HasPrefix(name, dir+"/") }) {
				return nil
			}
			files++
			if uses := connections(t, path); len(uses) > 0 {
				found[name] = uses
			}
			return nil
		}))
	}
	require.Greater(t, files, 100, "the walk goes astray")
	for name, uses := range found {
		require.NotEmpty(t, ownWay[name], "%s has %v: what goes out goes through internal/outbound", name, uses)
	}
	for name := range ownWay {
		require.NotEmpty(t, found[name], "%s makes no connections any more: take it out of the list", name)
	}
	// The test itself sees what it is for.
	require.NotEmpty(t, connections(t, "outbound.go"))
	require.Empty(t, connections(t, "allow.go"))
}

// connections returns what a file takes from packages that connect.
func connections(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	imported := map[string]string{} // by the name in the file
	for _, i := range file.Imports {
		pkg, err := strconv.Unquote(i.Path.Value)
		require.NoError(t, err)
		if _, ok := connectors[pkg]; !ok {
			continue
		}
		name := pkg[strings.LastIndex(pkg, "/")+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		require.NotEqual(t, ".", name, "%s: a dot import hides what is used", path)
		imported[name] = pkg
	}
	var uses []string
	ast.Inspect(file, func(n ast.Node) bool {
		if _, ok := n.(*ast.StarExpr); ok {
			return false // *http.Client is one that somebody else has made
		}
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && slices.Contains(connectors[imported[x.Name]], s.Sel.Name) {
			uses = append(uses, x.Name+"."+s.Sel.Name)
		}
		return true
	})
	return uses
}
