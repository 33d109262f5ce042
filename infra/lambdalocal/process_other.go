//go:build !linux

package lambdalocal

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }
