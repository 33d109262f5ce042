// Package lambdalocal runs a SAM template without AWS: each function's real bootstrap in processes of its own before a Runtime
// API, as Lambda does, and API Gateway's REST front before them.
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
	"sync/atomic"
	"syscall"
	"time"

	"mastralambda/shared/mastra"
)

// Instance is one running bootstrap. It takes one invocation at a time and is frozen between them, as an instance of Lambda is.
type Instance struct {
	Started time.Duration // from the start of the process to its first call of next
	cmd     *exec.Cmd
	server  *http.Server
	exited  chan struct{} // closed when the process has ended
	asked   chan struct{} // the bootstrap's first call of next
	events  chan *invocation
	taking  sync.Mutex // held by the invocation that has the instance
	mu      sync.Mutex
	current *invocation
	err     error // why the instance ended, where it was ended from here
}

type invocation struct {
	id       string
	event    []byte
	deadline time.Time
	arn      string
	answered atomic.Bool
	answer   chan *Answer  // the first one
	read     chan struct{} // closed when the answer is read, or nobody wants it
	over     chan struct{} // closed when the bootstrap calls next again
}

// Answer is what a function posts. Body is read as it is made; the caller closes it.
type Answer struct {
	Header  http.Header
	Trailer http.Header // whole after Body's end: an error that came after the first bytes
	Failed  bool        // posted as an error
	Body    io.ReadCloser
}

var (
	// ErrExited says that the bootstrap ended.
	ErrExited = errors.New("the bootstrap has exited")
	// ErrTimeout says that an invocation took longer than its function may; its instance was killed.
	ErrTimeout = errors.New("the invocation has timed out")
)

// maxPayload is how many bytes an event and a buffered answer may have.
const maxPayload = 6<<20 + 100

// Start runs a bootstrap with env besides PATH, and waits for its first call of next. Its log goes to log, a write a line or more.
func Start(ctx context.Context, bootstrap string, env []string, log io.Writer) (*Instance, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	in := &Instance{exited: make(chan struct{}), asked: make(chan struct{}, 1), events: make(chan *invocation)}
	in.server = &http.Server{Handler: in.api(), ReadHeaderTimeout: time.Second}
	go func() { _ = in.server.Serve(listener) }() // until it is closed
	in.mu.Lock()                                  // until the process is known
	in.cmd = exec.CommandContext(context.WithoutCancel(ctx), bootstrap)
	in.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "AWS_LAMBDA_RUNTIME_API=" + listener.Addr().String(),
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_REGION=" + Region, "AWS_DEFAULT_REGION=" + Region}, env...)
	in.cmd.Stdout, in.cmd.Stderr, in.cmd.SysProcAttr = log, log, attributes()
	start := time.Now()
	err = in.cmd.Start()
	in.mu.Unlock()
	if err != nil {
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

// CPU is the processor time that the process has used, after Close.
func (in *Instance) CPU() time.Duration {
	return in.cmd.ProcessState.UserTime() + in.cmd.ProcessState.SystemTime()
}

// Resident is the process's resident memory in bytes.
func (in *Instance) Resident() (int64, error) { return in.memory("VmRSS:") }

// memory reads a line of /proc/PID/status, in bytes.
func (in *Instance) memory(name string) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", in.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), name)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("status has no %s", name)
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10, err
}

// Invoke hands an event to the function and returns its answer, whose body may still be made. The instance takes the next event
// when that body is closed and the bootstrap has called next again. An invocation that is not over by then is killed with its
// instance after timeout. ctx bounds the wait for a free instance and for the answer's head.
func (in *Instance) Invoke(ctx context.Context, event []byte, timeout time.Duration) (*Answer, error) {
	v := newInvocation(event, timeout, "")
	if err := in.begin(ctx, v); err != nil {
		return nil, err
	}
	select {
	case a := <-v.answer:
		return a, nil
	case <-in.exited:
		select {
		case a := <-v.answer: // posted right before the end
			return a, nil
		default:
			return nil, in.ended()
		}
	case <-ctx.Done():
		v.drop()
		return nil, ctx.Err()
	}
}

func newInvocation(event []byte, timeout time.Duration, arn string) *invocation {
	return &invocation{id: mastra.NewID(), event: event, deadline: time.Now().Add(timeout), arn: arn, answer: make(chan *Answer, 1),
		read: make(chan struct{}), over: make(chan struct{})}
}

// drop says that nobody reads the answer.
func (v *invocation) drop() {
	go func() {
		select {
		case a := <-v.answer:
			_, _ = io.Copy(io.Discard, a.Body)
			_ = a.Body.Close()
		case <-v.over:
		}
	}()
}

// begin hands over v. What watches over it ends with it.
func (in *Instance) begin(ctx context.Context, v *invocation) error {
	in.taking.Lock()
	select {
	case in.events <- v:
	case <-in.exited:
		in.taking.Unlock()
		return in.ended()
	case <-ctx.Done():
		in.taking.Unlock()
		return ctx.Err()
	}
	go func() {
		defer in.taking.Unlock()
		late := time.NewTimer(time.Until(v.deadline))
		defer late.Stop()
		select {
		case <-v.over:
		case <-in.exited:
		case <-late.C:
			in.mu.Lock()
			in.err = ErrTimeout
			in.mu.Unlock()
			_ = in.Close() // SIGKILL, as Lambda does
		}
	}()
	return nil
}

// ended is why the instance is no more.
func (in *Instance) ended() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err != nil {
		return in.err
	}
	return ErrExited
}

// api is the Runtime API of 2018-06-01.
func (in *Instance) api() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", in.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) { in.post(w, r, false) })
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) { in.post(w, r, true) })
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	return mux
}

// next ends the invocation before, freezes the process and thaws it with the next event.
func (in *Instance) next(w http.ResponseWriter, r *http.Request) {
	in.mu.Lock()
	before := in.current
	in.current = nil
	in.mu.Unlock()
	in.signal(syscall.SIGSTOP)
	if before != nil {
		close(before.over)
	}
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
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", v.arn)
		w.Header().Set("Content-Type", "application/json")
		in.signal(syscall.SIGCONT)
		_, _ = io.Copy(w, bytes.NewReader(v.event))
	case <-r.Context().Done():
	}
}

// signal fails only where the process has ended, which is seen elsewhere.
func (in *Instance) signal(s syscall.Signal) {
	in.mu.Lock()
	defer in.mu.Unlock()
	_ = in.cmd.Process.Signal(s)
}

// post takes an answer. It waits until the answer is read: that is how a slow reader holds back a fast function.
func (in *Instance) post(w http.ResponseWriter, r *http.Request, failed bool) {
	in.mu.Lock()
	v := in.current
	in.mu.Unlock()
	if v == nil || v.id != r.PathValue("id") {
		problem(w, http.StatusBadRequest, "InvalidRequestID")
		return
	}
	body := &answerBody{ReadCloser: r.Body, read: v.read, in: in}
	a := &Answer{Header: r.Header, Trailer: r.Trailer, Failed: failed, Body: body}
	if !failed && r.Header.Get("Content-Type") != streamingType {
		data, err := io.ReadAll(io.LimitReader(r.Body, maxPayload+1))
		if err != nil {
			return
		}
		if len(data) > maxPayload {
			v.deliver(tooLarge())
			problem(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge")
			return
		}
		body.ReadCloser = io.NopCloser(bytes.NewReader(data))
	}
	if !v.deliver(a) {
		problem(w, http.StatusForbidden, "InvalidStateTransition")
		return
	}
	<-v.read
	w.WriteHeader(http.StatusAccepted)
}

// deliver says whether a is the invocation's first answer.
func (v *invocation) deliver(a *Answer) bool {
	first := v.answered.CompareAndSwap(false, true)
	if first {
		v.answer <- a
	}
	return first
}

func problem(w http.ResponseWriter, status int, kind string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errorType":%q}`, kind)
}

// streamingType is the content type of a streamed proxy response: a JSON prelude, eight NULs, the body.
const streamingType = "application/vnd.awslambda.http-integration-response"

func tooLarge() *Answer {
	return failure("Function.ResponseSizeTooLarge", fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", maxPayload))
}

// failure is an error that Lambda itself reports of a function.
func failure(kind, message string) *Answer {
	data := fmt.Sprintf(`{"errorType":%q,"errorMessage":%q}`, kind, message)
	return &Answer{Header: http.Header{}, Failed: true, Body: io.NopCloser(strings.NewReader(data))}
}

// answerBody is read by one reader. An end of the process meanwhile is its error.
type answerBody struct {
	io.ReadCloser
	read chan struct{}
	once sync.Once
	in   *Instance
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		select {
		case <-b.in.exited:
			err = b.in.ended()
		case <-time.After(time.Second): // the process is about to end, or its post is malformed
		}
	}
	return n, err
}

func (b *answerBody) Close() error { b.once.Do(func() { close(b.read) }); return nil }
