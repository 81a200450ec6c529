package devpg

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// tailLines is how many of the server's last lines an error quotes.
const tailLines = 15

// tail passes whole lines on and remembers the last ones.
type tail struct {
	next io.Writer

	mu      sync.Mutex
	partial []byte
	lines   []string
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.partial = append(t.partial, p...)
	if end := bytes.LastIndexByte(t.partial, '\n'); end >= 0 {
		t.pass(t.partial[:end+1])
		t.partial = append([]byte(nil), t.partial[end+1:]...)
	}
	return len(p), nil
}

// flush passes on a last line that has no end.
func (t *tail) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.partial) > 0 {
		t.pass(append(t.partial, '\n'))
		t.partial = nil
	}
}

func (t *tail) pass(lines []byte) {
	// The log is a service to the reader: where it can't be written, the server goes on.
	_, _ = t.next.Write(lines)
	for line := range strings.Lines(string(lines)) {
		t.lines = append(t.lines, strings.TrimRight(line, "\n"))
	}
	if surplus := len(t.lines) - tailLines; surplus > 0 {
		t.lines = append(t.lines[:0], t.lines[surplus:]...)
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 0 {
		return "it logged nothing"
	}
	return "it logged last\n  " + strings.Join(t.lines, "\n  ")
}
