// Command generate writes the dashboards into the folder that its argument names.
package main

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dawsos/dawsos/internal/dashboards"
)

func main() {
	if len(os.Args) != 2 {
		slog.Error("usage: generate FOLDER")
		os.Exit(2)
	}
	if err := generate(os.Args[1]); err != nil {
		slog.Error("dashboards not written", "err", err)
		os.Exit(1)
	}
}

func generate(folder string) error {
	files, err := dashboards.Files()
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil { //nolint:gosec // Grafana, another account, reads them
			return err
		}
	}
	return nil
}
