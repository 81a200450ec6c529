package apifuzz_test

import (
	"net/http/httptest"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dawsos/dawsos/internal/apifuzz"
	"github.com/dawsos/dawsos/pkg/api"
)

// The whole API over real PostgreSQL and the sample data answers some thousand requests, right and wrong
// ones, as its document says. FUZZ_SEED is the seed, 1 by default.
func TestAPI(t *testing.T) {
	t.Parallel()
	url := startAPI(t)
	receiver := httptest.NewServer(apifuzz.Receiver())
	t.Cleanup(receiver.Close)
	seed := uint64(1)
	if s := os.Getenv("FUZZ_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	r, err := apifuzz.Run(t.Context(), apifuzz.Options{
		Document: api.Document, URL: url, Receiver: receiver.URL, Seed: seed, Requests: 3000,
	})
	require.NoError(t, err)
	require.True(t, r.OK(), "%s", r)
	// These need several steps in the right order, which a short run may not come to.
	rare := []string{"acknowledgeAlert", "cancelOperation", "continueOperation", "discardDeadLetter", "replayDeadLetter", "importRows"}
	require.Subset(t, rare, r.Unreached(), "operations that never succeeded: the generator does not know enough\n%s", r)
	t.Logf("%s", r)
}
