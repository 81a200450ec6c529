// Package child starts programs that end with the program that started them.
//
// Each runs in a process group of its own: a Ctrl-C in the terminal reaches only the owner, which
// then stops its children in an order of its choosing, and one signal reaches a child together with
// everything that it started.
package child

import (
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// pipeDelay is how long output is still read after a child's end: a grandchild that holds the pipe
// open must not keep Wait from returning.
const pipeDelay = 2 * time.Second

// Process is a started program.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; set before done is closed
}

// Start starts cmd. On Linux the kernel sends it death when the caller's process ends in any way,
// kill -9 included; elsewhere the child then outlives its owner.
func Start(cmd *exec.Cmd, death syscall.Signal) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	bindToOwner(cmd.SysProcAttr, death)
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = pipeDelay
	}

	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel ties the death signal to the thread that forked, not to the process: the
		// thread has to stay until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// PID is the process id, also the id of its process group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed once the process has ended and its output has been read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the process ended: nil for exit status 0, else usually an *exec.ExitError. It may be
// called once Done is closed.
func (p *Process) Err() error { return p.err }

// Signal sends sig to the process alone. A process that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig) // knows when the process has been waited for, so no reused id is hit
}

// Kill ends the process and all that it started, at once.
func (p *Process) Kill() {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
}
