// Package sqlfiles embeds the SQL that both binaries need at run time.
package sqlfiles

import "embed"

// Migrations holds goose migrations under "migrations/".
//
//go:embed migrations/*.sql
var Migrations embed.FS
