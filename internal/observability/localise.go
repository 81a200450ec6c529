package observability

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// localise writes a copy of a file of configs/ in which known addresses are replaced, and returns its
// path.
func (o Options) localise(name string, known map[string]string) (string, error) {
	source := filepath.Join(o.Root, "configs", name)
	shipped, err := os.ReadFile(source)
	if err != nil {
		return "", fmt.Errorf("read a shipped file: %w", err)
	}
	local, err := replaceAddresses(shipped, filepath.Dir(source), known)
	if err != nil {
		return "", fmt.Errorf("%s: %w", source, err)
	}
	path := filepath.Join(o.Dir, "config", filepath.Base(name))
	if err := os.WriteFile(path, local, 0o600); err != nil {
		return "", fmt.Errorf("write the local copy of %s: %w", name, err)
	}
	return path, nil
}

// address is a host and port within a value, such as that of a URL. A time of day is none: it has no
// letter, and no dot.
var address = regexp.MustCompile(`(\[[0-9a-f:]+\]|[A-Za-z][A-Za-z0-9.-]*|[0-9]+[.][A-Za-z0-9.-]*):[0-9]{2,5}\b`)

// fileLists are the keys whose values name files relative to the file that has them.
var fileLists = map[string]bool{"rule_files": true, "templates": true}

// replaceAddresses rewrites the values of a YAML document; its comments may say what they like. An
// address on loopback that is not known stays as it is. Any other that is not known is an error:
// it would be looked up outside of this machine. Names of other files are resolved from dir.
func replaceAddresses(document []byte, dir string, known map[string]string) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(document, &root); err != nil {
		return nil, err
	}
	var unknown []error
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode {
			n.Value = address.ReplaceAllStringFunc(n.Value, func(pair string) string {
				if local, ok := known[pair]; ok {
					return local
				}
				if !onLoopback(pair) {
					unknown = append(unknown, fmt.Errorf("line %d: nothing here stands for %s", n.Line, pair))
				}
				return pair
			})
			return
		}
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 1 && fileLists[n.Content[i-1].Value] {
				for _, file := range child.Content {
					if !filepath.IsAbs(file.Value) {
						file.Value = filepath.Join(dir, file.Value)
					}
				}
				continue
			}
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				continue // a key
			}
			walk(child)
		}
	}
	walk(&root)
	if len(unknown) > 0 {
		return nil, errors.Join(unknown...)
	}
	return yaml.Marshal(&root)
}

func onLoopback(pair string) bool {
	host, _, err := net.SplitHostPort(pair)
	if err != nil {
		return false
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}
