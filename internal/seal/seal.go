// Package seal encrypts what must not be readable in the database: AES-256-GCM under a key that
// only the processes have.
//
// A sealed text is
//
//	version (1 byte, 1) | key id (4 bytes) | nonce (12 bytes) | ciphertext and tag
//
// The key id is the beginning of the key's SHA-256: it tells which of several keys to open a text
// with, and nothing about the key. A text is bound to what it belongs to: opened for anything else, it
// counts as forged. Nonces are random, which is safe for 2^32 texts under one key.
//
// The cipher and its nonces are the standard library's (crypto/cipher.NewGCMWithRandomNonce); what is
// here is the choice of the key and the binding to an owner. Tink's AEAD does the same with the same
// cipher and as many bytes (its prefix is a version and a key id too), but keeps its keys in keysets of a format of its
// own, which wants a tool to make and a second secret or a KMS to wrap: SECRETS_KEY is one line from
// `openssl rand`. age encrypts files to people and binds a text to nothing. The version byte is where another
// scheme would begin.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

const (
	// KeySize is the length of a key in bytes.
	KeySize = 32
	// MaxKeys bounds the keys of one process: one in use, the others on their way out.
	MaxKeys = 5

	version   = 1
	idSize    = 4
	header    = 1 + idSize
	nonceSize = 12
	tagSize   = 16
	// Overhead is by how many bytes a sealed text is longer than what it holds.
	Overhead = header + nonceSize + tagSize
)

var (
	// ErrUnknownKey means that a text was sealed with a key that this box does not have.
	ErrUnknownKey = errors.New("sealed with a key that is not there")
	// ErrForged means that a text was changed, belongs to something else, or is no sealed text.
	ErrForged = errors.New("not a sealed text of this owner")
)

// Box seals with its first key and opens with all. It is safe for concurrent use.
type Box struct {
	keys []key
}

type key struct {
	id   [idSize]byte
	aead cipher.AEAD
}

// New returns a box for keys: the base64 of 32 random bytes each, parted by commas, the one to seal
// with first. The error never holds a part of them.
func New(keys string) (*Box, error) {
	texts := strings.Split(keys, ",")
	if len(texts) > MaxKeys {
		return nil, fmt.Errorf("more than %d keys", MaxKeys)
	}
	b := &Box{keys: make([]key, len(texts))}
	for i, text := range texts {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil || len(raw) != KeySize {
			return nil, fmt.Errorf("key %d is not the base64 of %d bytes", i+1, KeySize)
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		if b.keys[i].aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		sum := sha256.Sum256(raw)
		b.keys[i].id = [idSize]byte(sum[:idSize])
	}
	return b, nil
}

// Seal encrypts plain for an owner, such as a tenant and the name of what it has.
func (b *Box) Seal(plain []byte, owner ...string) []byte {
	k := b.keys[0]
	head := append([]byte{version}, k.id[:]...)
	return k.aead.Seal(head, nil, plain, additional(head, owner)) //nolint:gosec // it makes a nonce of its own
}

// Open returns what was sealed for the owner, [ErrUnknownKey] or [ErrForged].
func (b *Box) Open(sealed []byte, owner ...string) ([]byte, error) {
	if len(sealed) < Overhead || sealed[0] != version {
		return nil, ErrForged
	}
	head, body := sealed[:header:header], sealed[header:]
	err := ErrUnknownKey
	for _, k := range b.keys {
		if !bytes.Equal(k.id[:], head[1:]) {
			continue
		}
		plain, wrong := k.aead.Open(nil, nil, body, additional(head, owner))
		if wrong == nil {
			return plain, nil
		}
		err = ErrForged // the library says no more than that either
	}
	return nil, err
}

// Current reports whether a text was sealed with the first key, so that the others may go once all are.
func (b *Box) Current(sealed []byte) bool {
	return len(sealed) >= Overhead && sealed[0] == version && bytes.Equal(sealed[1:header], b.keys[0].id[:])
}

// additional is what is authenticated but not encrypted. Every part is preceded by its length: the
// owner ("a", "bc") is not ("ab", "c").
func additional(head []byte, owner []string) []byte {
	data := bytes.Clone(head)
	for _, part := range owner {
		data = binary.BigEndian.AppendUint64(data, uint64(len(part)))
		data = append(data, part...)
	}
	return data
}
