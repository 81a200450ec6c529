//go:build !linux

package child

import "syscall"

// bindToOwner does nothing: only Linux tells a child of its owner's end.
func bindToOwner(*syscall.SysProcAttr, syscall.Signal) {}
