// Command dev serves the local process and starts it again whenever a Go file changes.
package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const binary = "build/mastra-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for ctx.Err() == nil {
		changed := newest()
		child, err := start(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, "dev:", err)
		}
		for ctx.Err() == nil && newest().Equal(changed) {
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
		if child != nil {
			_ = child.Process.Signal(syscall.SIGTERM)
			_ = child.Wait()
		}
	}
}

// start builds first, so that a mistake leaves a message and not a half-started server.
func start(ctx context.Context) (*exec.Cmd, error) {
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./infra/local/cmd")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		return nil, err
	}
	child := exec.Command(binary) //nolint:noctx // it is stopped by SIGTERM, so that it drains
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	return child, child.Start()
}

// newest is when a Go file changed last.
func newest() (t time.Time) {
	_ = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a file that vanished meanwhile
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") || d.Name() == "go.mod" {
			if info, err := d.Info(); err == nil && info.ModTime().After(t) {
				t = info.ModTime()
			}
		}
		return nil
	})
	return t
}
