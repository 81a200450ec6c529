//go:build !(linux && amd64)

package loadtest

import (
	"errors"
	"time"
)

// jumpClock does nothing: how a clock is moved is known for Linux on amd64 only.
func jumpClock(int, time.Duration) (back func() error, err error) {
	return nil, errors.New("a process's clock can only be moved on Linux on amd64")
}
