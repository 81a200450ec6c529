package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"github.com/dawsos/dawsos/internal/fault"
)

// defaultLimit is how many items a page has when the caller does not say; the document bounds
// what it may say.
const defaultLimit = 50

func limitOf(given *int) int {
	if given == nil {
		return defaultLimit
	}
	return *given
}

// encodeCursor writes a place in a list so that callers hand it back without reading it.
func encodeCursor(place any) *string {
	raw, err := json.Marshal(place)
	if err != nil { // places are plain structs, strings and numbers
		panic(err)
	}
	s := base64.RawURLEncoding.EncodeToString(raw)
	return &s
}

// decodeCursor reads what encodeCursor wrote; without a cursor it leaves place at the list's start.
func decodeCursor(given *string, place any) error {
	if given == nil || *given == "" {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(*given)
	if err == nil {
		err = json.Unmarshal(raw, place)
	}
	// What reads as a place but was not written as one, such as null, would start from anywhere. What was is UTF-8; of
	// NUL, which the database knows no better, the encoder makes an escape.
	var written any
	if err == nil && bytes.Contains(raw, []byte(`\u0000`)) {
		err = json.Unmarshal(raw, &written)
	}
	if err != nil || len(unstorables(written, "", nil)) > 0 || *encodeCursor(place) != *given {
		return fault.InvalidField("/query/cursor", "is not a cursor of this list")
	}
	return nil
}
