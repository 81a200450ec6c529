package seal_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/seal"
)

// keyOf returns a key made of one byte.
func keyOf(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, seal.KeySize))
}

func newBox(t testing.TB, keys ...string) *seal.Box {
	t.Helper()
	box, err := seal.New(strings.Join(keys, ","))
	require.NoError(t, err)
	return box
}

func TestNewRefusesWhatIsNoKey(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string]string{
		"nothing":      "",
		"no base64":    "secret-that-must-not-show!!",
		"too short":    base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, seal.KeySize-1)),
		"too long":     base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, seal.KeySize+1)),
		"second bad":   keyOf(1) + ",secret-that-must-not-show!!",
		"empty part":   keyOf(1) + ",",
		"one too many": strings.Repeat(keyOf(1)+",", seal.MaxKeys) + keyOf(2),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := seal.New(keys)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "secret-that")
			require.NotContains(t, err.Error(), keyOf(1))
		})
	}
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	old, both, after := newBox(t, keyOf(1)), newBox(t, keyOf(2), " "+keyOf(1)), newBox(t, keyOf(2))

	sealed := old.Seal([]byte("secret"), "default", "ops")
	plain, err := both.Open(sealed, "default", "ops")
	require.NoError(t, err)
	require.Equal(t, "secret", string(plain))
	require.False(t, both.Current(sealed))

	again := both.Seal(plain, "default", "ops")
	require.True(t, both.Current(again))
	plain, err = after.Open(again, "default", "ops")
	require.NoError(t, err)
	require.Equal(t, "secret", string(plain))

	_, err = after.Open(sealed, "default", "ops")
	require.ErrorIs(t, err, seal.ErrUnknownKey)
	_, err = old.Open(again, "default", "ops")
	require.ErrorIs(t, err, seal.ErrUnknownKey)
}

func TestOwnersArePartedExactly(t *testing.T) {
	t.Parallel()
	box := newBox(t, keyOf(1))
	sealed := box.Seal([]byte("secret"), "a", "bc")
	for _, owner := range [][]string{{"ab", "c"}, {"abc"}, {"a", "bc", ""}, {"a"}, {}, {"bc", "a"}} {
		_, err := box.Open(sealed, owner...)
		require.ErrorIs(t, err, seal.ErrForged, "%q", owner)
	}
}

func TestEveryChangeOfAnyBitIsFound(t *testing.T) {
	t.Parallel()
	box := newBox(t, keyOf(1), keyOf(2))
	sealed := box.Seal([]byte("secret"), "default", "ops")
	for i := range sealed {
		for bit := range 8 {
			forged := bytes.Clone(sealed)
			forged[i] ^= 1 << bit
			_, err := box.Open(forged, "default", "ops")
			require.Error(t, err, "byte %d, bit %d", i, bit)
		}
	}
	for n := range sealed {
		_, err := box.Open(sealed[:n], "default", "ops")
		require.ErrorIs(t, err, seal.ErrForged, "cut after %d bytes", n)
	}
}

func FuzzSeal(f *testing.F) {
	f.Add([]byte("whsec_secret"), "default", "ops", byte(0))
	f.Add([]byte{}, "", "", byte(255))
	f.Fuzz(func(t *testing.T, plain []byte, tenant, name string, at byte) {
		box := newBox(t, keyOf(1))
		sealed := box.Seal(plain, tenant, name)
		require.Len(t, sealed, len(plain)+seal.Overhead)
		require.NotEqual(t, sealed, box.Seal(plain, tenant, name), "a nonce was used twice")
		if len(plain) >= 8 {
			require.False(t, bytes.Contains(sealed, plain), "the text stands in what was sealed")
		}

		opened, err := box.Open(sealed, tenant, name)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, opened))

		_, err = box.Open(sealed, tenant, name+"x")
		require.ErrorIs(t, err, seal.ErrForged)
		sealed[int(at)%len(sealed)] ^= 1
		_, err = box.Open(sealed, tenant, name)
		require.Error(t, err)
	})
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		_, err := newBox(t, keyOf(1)).Open(sealed, "default", "ops")
		require.Error(t, err, "a text that was never sealed was opened")
	})
}
