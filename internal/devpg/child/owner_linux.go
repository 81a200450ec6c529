package child

import "syscall"

func bindToOwner(attr *syscall.SysProcAttr, death syscall.Signal) { attr.Pdeathsig = death }
