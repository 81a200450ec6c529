package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

// tailLines is how many last lines of a part are repeated when it dies.
const tailLines = 10

// colours are the terminal's codes for the prefixes.
var colours = map[string]string{"api": "\x1b[36m", "worker": "\x1b[35m", "pg": "\x1b[34m", "dev": "\x1b[32m"}

// console writes the lines of several parts to one output, each with its part's name in front.
type console struct {
	mu      sync.Mutex
	out     io.Writer
	colour  bool
	streams []*stream
}

func newConsole(out io.Writer, colour bool) *console { return &console{out: out, colour: colour} }

// say writes a line about what is going on.
func (c *console) say(format string, args ...any) {
	c.line("dev", []byte(fmt.Sprintf(format, args...)))
}

// print writes text without a prefix, for people to copy from.
func (c *console) print(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.WriteString(c.out, text) // nowhere to report it to
}

func (c *console) line(name string, text []byte) {
	prefix := fmt.Sprintf("%-6s | ", name)
	if code, ok := colours[name]; ok && c.colour {
		prefix = code + prefix + "\x1b[0m"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(c.out, "%s%s\n", prefix, text) // one write, so that lines stay whole
}

// flush writes what parts have left without an end of line.
func (c *console) flush() {
	c.mu.Lock()
	streams := c.streams
	c.mu.Unlock()
	for _, s := range streams {
		s.flush()
	}
}

// stream returns a writer for the output of the part name.
func (c *console) stream(name string) *stream {
	s := &stream{console: c, name: name}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams = append(c.streams, s)
	return s
}

// stream puts together lines from writes that may end anywhere, and remembers the last ones.
type stream struct {
	console *console
	name    string

	mu      sync.Mutex
	partial []byte
	last    []string
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := len(p)
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			s.partial = append(s.partial, p...)
			return written, nil
		}
		s.emit(append(s.partial, p[:end]...))
		s.partial, p = s.partial[:0], p[end+1:]
	}
}

func (s *stream) emit(line []byte) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	s.console.line(s.name, line)
	if len(s.last) == tailLines {
		s.last = append(s.last[:0], s.last[1:]...)
	}
	s.last = append(s.last, string(line))
}

func (s *stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.partial) > 0 {
		s.emit(s.partial)
		s.partial = nil
	}
}

// tail returns the last lines, indented, for an error.
func (s *stream) tail() string {
	s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.last) == 0 {
		return "; it wrote nothing"
	}
	return "; its last lines:\n    " + strings.Join(s.last, "\n    ")
}
