package lambdalocal

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Stack is a running template.
type Stack struct {
	Gateway *Gateway
	Pools   map[string]*Pool // by the function's logical id
}

// Options are what a stack runs with.
type Options struct {
	Bootstraps func(function string) string // a function's executable
	Limit      int                          // invocations of one function at once; 0: 100
	Log        Log
	Logger     *slog.Logger
}

// Up prepares a template's functions. Instances start with the first invocations; Close ends them.
func Up(t *Template, o Options) (_ *Stack, err error) {
	s := &Stack{Pools: map[string]*Pool{}}
	var pools []*Pool
	for _, f := range t.Functions {
		p := &Pool{Function: f, Bootstrap: o.Bootstraps(f.Name), Limit: cmp.Or(o.Limit, 100), Log: o.Log}
		s.Pools[f.Name] = p
		pools = append(pools, p)
	}
	s.Gateway, err = NewGateway(t.API, o.Logger, pools...)
	return s, err
}

// Close ends every instance.
func (s *Stack) Close() {
	for _, p := range s.Pools {
		p.Close()
	}
}

// Make builds bootstraps for this machine into dir, as sam build does: by the targets build-NAME of the Makefile in root.
func Make(root, dir string) Builder {
	return func(ctx context.Context, function string) (string, error) {
		to := filepath.Join(dir, function)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return "", err
		}
		cmd := exec.CommandContext(ctx, "make", "-s", "build-"+function, "ARTIFACTS_DIR="+to)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "GOARCH="+runtime.GOARCH)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", function, err, out)
		}
		return filepath.Join(to, "bootstrap"), nil
	}
}
