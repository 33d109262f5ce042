package lambdalocal

import "syscall"

// attributes end a bootstrap with the process that runs it, however that one ends: a frozen one would stay for ever.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
