// Package api is the HTTP API as a document and as generated code: types, a client for programs
// in Go, and the interface that the server implements.
package api

import _ "embed"

// Document is the OpenAPI 3.1 document that requests are checked against.
//
//go:embed openapi.yaml
var Document []byte

//go:generate go tool -modfile=../../tools.mod oapi-codegen -config oapi-codegen.yaml openapi.yaml
