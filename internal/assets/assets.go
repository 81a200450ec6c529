// Package assets serves files that come with the binary: compressed for those who take that, and not
// again to those who have them.
package assets

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

var types = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".png":  "image/png",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// File is one of them.
type File struct {
	content     []byte
	contentType string
	etag        string
	compressed  func() []byte // nil when it is compressed as it is
}

// New reads a file whose name's ending tells its type.
func New(from fs.FS, name string) (*File, error) {
	content, err := fs.ReadFile(from, name)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	f := &File{content: content, contentType: types[path.Ext(name)], etag: hex.EncodeToString(sum[:16])}
	if path.Ext(name) != ".png" {
		f.compressed = sync.OnceValue(func() []byte { return compress(content) }) // when it is first asked for
	}
	return f, nil
}

// Version identifies the file's content.
func (f *File) Version() string { return f.etag }

func compress(content []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(content) // a buffer takes everything
	_ = z.Close()
	return b.Bytes()
}

// ServeHTTP answers with the file, or with 304 to those who have it.
func (f *File) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	content, etag := f.content, `"`+f.etag+`"`
	if f.compressed != nil {
		h.Set("Vary", "Accept-Encoding")
		if AcceptsGzip(r.Header.Get("Accept-Encoding")) {
			content, etag = f.compressed(), `"`+f.etag+`-gzip"`
			if r.Header.Get("If-None-Match") != etag {
				h.Set("Content-Encoding", "gzip")
			}
		}
	}
	h.Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(content) // whoever has gone needs no answer
}

// AcceptsGzip reads an Accept-Encoding header (RFC 9110, 12.5.3). One that refuses gzip with a weight
// of zero is rare and heeded.
func AcceptsGzip(header string) bool {
	for coding := range strings.SplitSeq(header, ",") {
		name, weight, weighted := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			_, q, _ := strings.Cut(weight, "=")
			return !weighted || strings.Trim(strings.TrimSpace(q), "0.") != ""
		}
	}
	return false
}
