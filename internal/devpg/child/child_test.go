package child_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dawsos/dawsos/internal/devpg/child"
)

// ownerVariable makes the test binary an owner: it starts a child, prints its id and waits.
const ownerVariable = "CHILD_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerVariable) != "" {
		process, err := child.Start(exec.Command("sleep", "1000"), syscall.SIGTERM)
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString(strconv.Itoa(process.PID()) + "\n")
		select {}
	}
	goleak.VerifyTestMain(m)
}

func TestErrTellsHowItEnded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		script string
		want   string
	}{
		{"exit 0", ""},
		{"exit 3", "exit status 3"},
		{"kill -9 $$", "signal: killed"},
	} {
		t.Run(c.script, func(t *testing.T) {
			t.Parallel()
			process, err := child.Start(exec.Command("sh", "-c", c.script), syscall.SIGTERM)
			require.NoError(t, err)
			<-process.Done()
			if c.want == "" {
				require.NoError(t, process.Err())
			} else {
				require.EqualError(t, process.Err(), c.want)
			}
			process.Signal(syscall.SIGTERM) // of no consequence now
			process.Kill()
		})
	}
}

func TestStartOfNothing(t *testing.T) {
	t.Parallel()
	_, err := child.Start(exec.Command("/nonexistent/program"), syscall.SIGTERM)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestKillTakesGrandchildrenAlong(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", "sleep 1000 & echo $!; wait")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	process, err := child.Start(cmd, syscall.SIGTERM)
	require.NoError(t, err)
	grandchild := readPID(t, out)

	process.Kill()
	<-process.Done()
	requireGone(t, grandchild)
}

func TestEndsWhenItsOwnerIsKilled(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Log("only Linux tells a child of its owner's end")
		return
	}
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), ownerVariable+"=1")
	out, err := owner.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, owner.Start())
	pid := readPID(t, out)
	require.NoError(t, syscall.Kill(pid, 0), "the child runs")

	require.NoError(t, owner.Process.Kill())
	require.Error(t, owner.Wait())
	requireGone(t, pid)
}

func readPID(t *testing.T, r io.Reader) int {
	t.Helper()
	line, err := bufio.NewReader(r).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	return pid
}

// requireGone waits for a process to end that is not our child. One that nobody has waited for yet
// (a container's first process may never do) counts as ended.
func requireGone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		if syscall.Kill(pid, 0) != nil {
			return true
		}
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err == nil && strings.Contains(string(stat), ") Z ")
	}, 10*time.Second, 5*time.Millisecond, "process %d goes on", pid)
}
