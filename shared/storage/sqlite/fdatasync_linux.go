package sqlite

import (
	"os"
	"syscall"
)

// fdatasync brings a file to the disk, but for its time stamps, which cost a journaling file system as much again.
func fdatasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}
