//go:build !unix

package embedded

import "os"

// Where files cannot be locked, one directory is for one process.
func lockFile(*os.File) error { return nil }
func unlockFile(*os.File)     {}

func syncDir(string) error { return nil } // names are durable with their files
