// Package lambdalocal runs the functions' bootstraps as Lambda does: each a process of its own that asks a Runtime API for
// its next event.
package lambdalocal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"mastralambda/shared/mastra"
)

// Instance is one running bootstrap. It takes one invocation at a time, as an instance of Lambda does.
type Instance struct {
	Started  time.Duration // from the start of the process to its first call of next
	cmd      *exec.Cmd
	server   *http.Server
	exited   chan struct{}
	asked    chan struct{} // the bootstrap calls next
	events   chan *invocation
	mu       sync.Mutex
	current  *invocation
	invoking sync.Mutex
}

type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	answer   chan *Answer
	done     chan struct{} // closed when the answer is read, or nobody wants it
}

// Answer is what a function posts. Body is read as it is made; the caller closes it.
type Answer struct {
	Header  http.Header
	Trailer http.Header // whole after Body's end: an error that came after the first bytes
	Failed  bool        // posted as an error
	Body    io.ReadCloser
}

// ErrExited says that the bootstrap ended.
var ErrExited = errors.New("the bootstrap has exited")

// Start runs a bootstrap with env besides PATH, and waits for its first call of next. Its log goes to log.
func Start(ctx context.Context, bootstrap string, env []string, log io.Writer) (*Instance, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	in := &Instance{exited: make(chan struct{}), asked: make(chan struct{}, 1), events: make(chan *invocation)}
	in.server = &http.Server{Handler: in.api(), ReadHeaderTimeout: time.Second}
	go func() { _ = in.server.Serve(listener) }() // until it is closed
	in.cmd = exec.CommandContext(ctx, bootstrap)
	in.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "AWS_LAMBDA_RUNTIME_API=" + listener.Addr().String(),
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_REGION=us-east-1"}, env...)
	in.cmd.Stdout, in.cmd.Stderr = log, log
	start := time.Now()
	if err := in.cmd.Start(); err != nil {
		return nil, errors.Join(err, in.server.Close())
	}
	go func() { _ = in.cmd.Wait(); close(in.exited) }()
	select {
	case <-in.asked:
		in.Started = time.Since(start)
		return in, nil
	case <-in.exited:
		return nil, errors.Join(ErrExited, in.server.Close())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), in.Close())
	}
}

// Close ends the process.
func (in *Instance) Close() error {
	if err := in.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-in.exited
	return in.server.Close()
}

// Resident is the process's resident memory in bytes.
func (in *Instance) Resident() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", in.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm is %q", data)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// Invoke hands an event to the function. The instance takes the next one when the answer's body is closed and the bootstrap
// has called next again.
func (in *Instance) Invoke(ctx context.Context, event []byte, timeout time.Duration) (*Answer, error) {
	in.invoking.Lock()
	v := &invocation{id: mastra.NewID(), payload: event, deadline: time.Now().Add(timeout), answer: make(chan *Answer, 1), done: make(chan struct{})}
	var once sync.Once
	release := func() { once.Do(func() { close(v.done); in.invoking.Unlock() }) }
	select {
	case in.events <- v:
	case <-in.exited:
		release()
		return nil, ErrExited
	case <-ctx.Done():
		release()
		return nil, ctx.Err()
	}
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case a := <-v.answer:
		a.Body = &answerBody{a.Body, release}
		return a, nil
	case <-in.exited:
		release()
		return nil, ErrExited
	case <-late.C:
		release()
		return nil, errors.Join(context.DeadlineExceeded, in.Close()) // as Lambda does
	case <-ctx.Done():
		release()
		return nil, ctx.Err()
	}
}

type answerBody struct {
	io.ReadCloser
	release func()
}

func (b *answerBody) Close() error { b.release(); return nil }

// api is the Runtime API of 2018-06-01.
func (in *Instance) api() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", in.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) { in.post(w, r, false) })
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) { in.post(w, r, true) })
	return mux
}

func (in *Instance) next(w http.ResponseWriter, r *http.Request) {
	select {
	case in.asked <- struct{}{}:
	default:
	}
	select {
	case v := <-in.events:
		in.mu.Lock()
		in.current = v
		in.mu.Unlock()
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", v.id)
		w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(v.deadline.UnixMilli(), 10))
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:local")
		_, _ = io.Copy(w, bytes.NewReader(v.payload))
	case <-r.Context().Done():
	}
}

func (in *Instance) post(w http.ResponseWriter, r *http.Request, failed bool) {
	in.mu.Lock()
	v := in.current
	in.current = nil
	in.mu.Unlock()
	if v == nil || v.id != r.PathValue("id") {
		http.Error(w, `{"errorType":"InvalidRequestID"}`, http.StatusBadRequest)
		return
	}
	v.answer <- &Answer{Header: r.Header, Trailer: r.Trailer, Failed: failed, Body: r.Body}
	<-v.done
	w.WriteHeader(http.StatusAccepted)
}
