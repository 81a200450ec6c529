package loadtest

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The programs are static binaries, which LD_PRELOAD (libfaketime) does not reach, and setting the
// machine's clock would be felt by everybody on it. What a Go program takes the time from is the
// function clock_gettime in the page of code that the kernel maps into every process (the vDSO). In the
// process whose clock is to jump that function is overwritten: its copy of the page becomes its own by
// that. The new code asks the kernel, and adds the jump when the wall clock is meant. The monotonic
// clock stays as it is, as it does when a machine's clock is set.

// vdso is where the function lies in a process.
type vdso struct {
	start, end uint64 // the mapping
	function   uint64
}

// clockCode returns the code that takes the place of clock_gettime(clock, *timespec).
func clockCode(jump time.Duration) []byte {
	code := []byte{
		0xb8, 0xe4, 0, 0, 0, // mov eax, 228: the system call clock_gettime
		0x0f, 0x05, // syscall: keeps edi and rsi
		0x85, 0xff, // test edi, edi: CLOCK_REALTIME is 0
		0x75, 0x0d, // jne to ret
		0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, // mov rcx, the jump in seconds
		0x48, 0x01, 0x0e, // add [rsi], rcx: timespec.tv_sec
		0xc3, // ret
	}
	binary.LittleEndian.PutUint64(code[13:], uint64(int64(jump/time.Second))) //nolint:gosec // two's complement is what the processor wants
	return code
}

// jumpClock moves the wall clock of a process by whole seconds, until the function that is returned is
// called.
func jumpClock(pid int, jump time.Duration) (back func() error, err error) {
	v, err := findVDSO(pid)
	if err != nil {
		return nil, err
	}
	code := clockCode(jump)
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open the memory of process %d: %w", pid, err)
	}
	before := make([]byte, len(code))
	if _, err := memory.ReadAt(before, int64(v.function)); err != nil { //nolint:gosec // an address of user space
		return nil, errors.Join(fmt.Errorf("read the clock of process %d: %w", pid, err), memory.Close())
	}
	if err := v.overwrite(pid, memory, code); err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	return func() error { return errors.Join(v.overwrite(pid, memory, before), memory.Close()) }, nil
}

const (
	// overwriteTries is how often the process is stopped again because a thread was just reading the clock.
	overwriteTries = 50
	// stopPoll and stopLimit are how often and how long a stopped process is looked at until it stands still.
	stopPoll, stopLimit = time.Millisecond, 2 * time.Second
)

// overwrite writes the function while no thread is in it.
func (v vdso) overwrite(pid int, memory *os.File, code []byte) error {
	for range overwriteTries {
		written, err := v.overwriteStopped(pid, memory, code)
		if err != nil {
			return fmt.Errorf("change the clock of process %d: %w", pid, err)
		}
		if written {
			return nil
		}
		_ = pause(context.Background(), stopPoll)
	}
	return fmt.Errorf("process %d reads its clock all the time: it can't be changed", pid)
}

// overwriteStopped stops the process for as long as it takes.
func (v vdso) overwriteStopped(pid int, memory *os.File, code []byte) (written bool, err error) {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, syscall.Kill(pid, syscall.SIGCONT)) }()
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	free := false
	err = until(ctx, stopPoll, func(context.Context) error {
		still, outside, err := v.look(pid)
		if err == nil && !still {
			err = errors.New("it does not stand still")
		}
		free = outside
		return err
	})
	if err != nil || !free {
		return false, err
	}
	_, err = memory.WriteAt(code, int64(v.function)) //nolint:gosec // an address of user space
	return err == nil, err
}

// look tells whether every thread of a process stands still, and whether all are outside of the vDSO.
func (v vdso) look(pid int) (still, outside bool, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil {
		return false, false, err
	}
	outside = true
	for _, thread := range threads {
		raw, err := os.ReadFile(thread)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return false, false, err
		}
		fields := strings.Fields(string(raw))
		if len(fields) < 3 {
			return false, false, nil // "running"
		}
		at, err := strconv.ParseUint(strings.TrimPrefix(fields[len(fields)-1], "0x"), 16, 64)
		if err != nil {
			return false, false, fmt.Errorf("read where a thread is: %w", err)
		}
		outside = outside && (at < v.start || at >= v.end)
	}
	return len(threads) > 0, outside, nil
}

// findVDSO finds the function in a process. All processes of a machine have the same code, each at an
// address of its own.
func findVDSO(pid int) (vdso, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return vdso{}, fmt.Errorf("read the map of process %d: %w", pid, err)
	}
	var v vdso
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			if _, err := fmt.Sscanf(line, "%x-%x", &v.start, &v.end); err != nil {
				return vdso{}, fmt.Errorf("read the map of process %d: %w", pid, err)
			}
		}
	}
	if v.start == 0 || v.end-v.start > 1<<20 {
		return vdso{}, fmt.Errorf("process %d has no vDSO", pid)
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return vdso{}, fmt.Errorf("open the memory of process %d: %w", pid, err)
	}
	defer memory.Close()
	image := make([]byte, v.end-v.start)
	if _, err := memory.ReadAt(image, int64(v.start)); err != nil { //nolint:gosec // an address of user space
		return vdso{}, fmt.Errorf("read the vDSO of process %d: %w", pid, err)
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return vdso{}, fmt.Errorf("read the vDSO: %w", err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return vdso{}, fmt.Errorf("read the vDSO: %w", err)
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" && s.Size >= uint64(len(clockCode(0))) {
			v.function = v.start + s.Value
			return v, nil
		}
	}
	return vdso{}, errors.New("the vDSO has no clock_gettime with room for another")
}
