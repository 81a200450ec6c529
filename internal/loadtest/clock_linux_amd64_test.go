package loadtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clockVariable makes the test binary one that tells the time: for every line that it reads, it writes the
// wall clock's seconds and how long it has run by the monotonic clock.
const clockVariable = "LOADTEST_CLOCK"

func tellTime() {
	started := time.Now()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Fprintln(os.Stdout, time.Now().Unix(), int(time.Since(started).Seconds()))
	}
}

// TestJumpClock: the wall clock of another process jumps and comes back; its monotonic clock does not notice, nor
// does this process.
func TestJumpClock(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), testBinary(t))
	cmd.Env = []string{clockVariable + "=1"}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, in.Close())
		require.NoError(t, cmd.Wait())
	})
	answers := bufio.NewReader(out)
	told := func() (ahead, ran int) {
		_, err := fmt.Fprintln(in)
		require.NoError(t, err)
		line, err := answers.ReadString('\n')
		require.NoError(t, err)
		fields := strings.Fields(line)
		require.Len(t, fields, 2)
		wall, err := strconv.ParseInt(fields[0], 10, 64)
		require.NoError(t, err)
		ran, err = strconv.Atoi(fields[1])
		require.NoError(t, err)
		return int(wall - time.Now().Unix()), ran
	}

	for _, jump := range []int{600, -600} {
		ahead, ran := told()
		require.InDelta(t, 0, ahead, 2)
		back, err := jumpClock(cmd.Process.Pid, time.Duration(jump)*time.Second)
		require.NoError(t, err)
		ahead, later := told()
		require.InDelta(t, jump, ahead, 2)
		require.InDelta(t, ran, later, 30, "the monotonic clock goes on as it went")
		require.NoError(t, back())
		ahead, _ = told()
		require.InDelta(t, 0, ahead, 2)
	}
	_, err = jumpClock(1<<30, time.Second)
	require.Error(t, err)
}
