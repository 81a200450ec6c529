package loadtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	_ "github.com/dawsos/dawsos/internal/app" // what is built below: its changes make old results invalid
	"github.com/dawsos/dawsos/internal/dbtest"
)

// baselineVariable makes the test binary the bare program, at the address that it holds.
const baselineVariable = "LOADTEST_BASELINE"

// bin holds the programs under test.
var bin string

func TestMain(m *testing.M) {
	if os.Getenv(clockVariable) != "" {
		tellTime()
		os.Exit(0)
	}
	if addr := os.Getenv(baselineVariable); addr != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		if err := ServeBaseline(ctx, addr, os.Getenv("DATABASE_URL")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dbtest.Main(m, leftByToxiproxy...)
}

// leftByToxiproxy are the goroutines that toxiproxy leaves of a connection which is aborted while bytes are under
// way: nobody reads from its last stage any more, and the stages before it wait for that for ever
// (TestAbortedConnection; the same in its newest version, 2.12). They are few, in a program that ends with its
// campaign.
var leftByToxiproxy = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
}

func build() error {
	var err error
	if bin, err = os.MkdirTemp("", "dawsos-loadtest-"); err != nil {
		return err
	}
	out, err := exec.Command("go", "build", "-o", bin, "github.com/dawsos/dawsos/cmd/api", "github.com/dawsos/dawsos/cmd/worker").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// place returns a place of the test's own.
func place(t *testing.T) Place {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	return Place{Bin: bin, Root: root, DatabaseURL: dbtest.URL(t), Logs: t.TempDir(), Say: t.Logf}
}

// testBinary is this program.
func testBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	return self
}
