package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// build makes the binary of a package as it would be shipped.
func build(ctx context.Context, folder, pkg string) (binary string, err error) {
	binary = filepath.Join(folder, strings.ReplaceAll(pkg, "/", "-"))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./"+pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return binary, nil
}

// process is a server that runs as a child with fresh data.
type process struct {
	address string
	cmd     *exec.Cmd
	data    string
	stderr  *os.File
	began   time.Time // before the fork
}

// start forks binary on a free port. Its answers are not waited for.
func start(ctx context.Context, folder, binary string, settings ...string) (p *process, err error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	p = &process{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	if p.data, err = os.MkdirTemp(folder, "data-"); err != nil {
		return nil, err
	}
	if p.stderr, err = os.Create(filepath.Join(p.data, "stderr")); err != nil {
		return nil, err
	}
	data := filepath.Join(p.data, "data")
	p.cmd = exec.CommandContext(ctx, binary)
	p.cmd.Env = append(environment(), "PORT="+strconv.Itoa(port), "DATA_DIR="+data, "STORAGE_URL=sqlite://"+filepath.Join(data, "mastra.db"), "MODEL_DELAY=0")
	p.cmd.Env = append(p.cmd.Env, settings...)
	p.cmd.Stderr = p.stderr
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 30 * time.Second
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, p.stderr.Close())
	}
	return p, nil
}

// serving is start for a server that is to answer already.
func serving(ctx context.Context, folder, binary string, settings ...string) (*process, error) {
	p, err := start(ctx, folder, binary, settings...)
	if err != nil {
		return nil, err
	}
	if _, err := p.firstAnswer(ctx, "/health"); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// bareServer is the variable that makes this program one.
const bareServer = "BENCH_BARE_SERVER"

// serveBare answers every request on address with as many bytes as a list of agents has, and does nothing else: what net/http
// itself does on this machine.
func serveBare(ctx context.Context, address string) error {
	body := []byte(`{"network-agent":"` + strings.Repeat("x", 4<<10) + `"}`)
	s := &http.Server{Addr: address, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// environment is what a server needs of this one's: its defaults are measured, not somebody's settings.
func environment() (env []string) {
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOMAXPROCS", "GOGC", "GOMEMLIMIT"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// firstAnswer asks until there is a 200 and returns how long after the fork that was.
func (p *process) firstAnswer(ctx context.Context, path string) (time.Duration, error) {
	c := dial(p.address)
	defer c.close()
	get := request("GET", path, "")
	for time.Since(p.began) < 15*time.Second {
		status, body, err := c.do(ctx, get)
		switch {
		case err == nil && status == 200:
			return time.Since(p.began), nil
		case err == nil:
			return 0, fmt.Errorf("GET %s: status %d: %.200s%s", path, status, body, p.tail())
		}
		time.Sleep(200 * time.Microsecond)
	}
	return 0, fmt.Errorf("%s does not answer%s", p.cmd.Path, p.tail())
}

// tail is the end of what the process said.
func (p *process) tail() string {
	said, err := os.ReadFile(p.stderr.Name())
	if err != nil || len(said) == 0 {
		return ""
	}
	return "\nit said: " + string(said[max(0, len(said)-2000):])
}

// stop ends the process and removes its data.
func (p *process) stop() error {
	signal := p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	err := p.cmd.Wait()
	if err != nil {
		err = fmt.Errorf("%s: %w%s", p.cmd.Path, err, p.tail())
	}
	return errors.Join(signal, err, p.stderr.Close(), os.RemoveAll(p.data))
}

func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// residentMemory is VmRSS of a process in bytes.
func residentMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("process %d has no VmRSS", pid)
	}
	kB, err := strconv.ParseInt(string(m[1]), 10, 64)
	return kB << 10, err
}

// listenerOf is the process of this machine that listens on an address, 0 where that cannot be seen.
func listenerOf(address string) int {
	_, text, err := net.SplitHostPort(address)
	port, parsed := strconv.ParseUint(text, 10, 16)
	table, read := os.ReadFile("/proc/net/tcp")
	if errors.Join(err, parsed, read) != nil {
		return 0
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "0A" || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			continue
		}
		open, _ := filepath.Glob("/proc/[0-9]*/fd/*")
		for _, fd := range open {
			if to, err := os.Readlink(fd); err == nil && to == "socket:["+f[9]+"]" {
				pid, _ := strconv.Atoi(strings.Split(fd, "/")[2])
				return pid
			}
		}
	}
	return 0
}

// fileSize is the size of a file in bytes.
func fileSize(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Seek(0, io.SeekEnd)
}
