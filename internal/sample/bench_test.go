package sample

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/dbtest"
)

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		pool := dbtest.New(b)
		b.StartTimer()
		_, err := Load(b.Context(), pool, dir, nil)
		require.NoError(b, err)
	}
}
