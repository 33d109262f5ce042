package lambdalocal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// ErrThrottled says that a function has as many invocations as it may.
var ErrThrottled = errors.New("rate exceeded")

const (
	initTime = 10 * time.Second // of an instance outside of an invocation
	idleTime = 10 * time.Minute // before an unused instance ends
)

// Pool runs one function: as many instances as invocations overlap, up to Limit. It is safe for concurrent use.
type Pool struct {
	Function
	Bootstrap string
	Limit     int
	Log       Log

	mu      sync.Mutex
	idle    []*instance // the one used last comes last and is used first
	all     map[*instance]struct{}
	busy    int
	closed  bool
	running sync.WaitGroup
}

// Log takes the lines of an instance, stream by stream, as Lambda writes them to CloudWatch. It is called by many goroutines.
type Log func(function, stream string, line []byte)

type instance struct {
	*Instance
	stream string
	idling *time.Timer
}

func functionARN(name string) string {
	return "arn:aws:lambda:" + Region + ":" + Account + ":function:" + name
}

// Invoke runs the function once. An answer that the function did not make (a crash, a timeout) is Failed. The error is
// ErrThrottled, or ctx's while nothing is known yet; the invocation goes on without its caller then.
func (p *Pool) Invoke(ctx context.Context, event []byte) (*Answer, error) {
	p.mu.Lock()
	if p.closed || p.busy >= p.Limit {
		p.mu.Unlock()
		return nil, ErrThrottled
	}
	p.busy++
	p.running.Add(1)
	p.mu.Unlock()
	answer := make(chan *Answer, 1)
	go p.run(event, answer)
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		go func() {
			a := <-answer
			_, _ = io.Copy(io.Discard, a.Body)
			_ = a.Body.Close()
		}()
		return nil, ctx.Err()
	}
}

// run is one invocation from its instance's start to its next call of next.
func (p *Pool) run(event []byte, answer chan<- *Answer) {
	defer p.running.Done()
	defer func() { p.mu.Lock(); p.busy--; p.mu.Unlock() }()
	in, cold, err := p.take()
	if err != nil {
		answer <- failure("Runtime.ExitError", "Error: "+err.Error())
		return
	}
	v, start := newInvocation(event, p.Timeout, functionARN(p.Name)), time.Now()
	if err := in.begin(context.Background(), v); err != nil { // it ended while it was idle
		p.end(in)
		answer <- failure("Runtime.ExitError", fmt.Sprintf("RequestId: %s Error: %s", v.id, err))
		return
	}
	p.platform(in, "platform.start", map[string]any{"requestId": v.id, "version": "$LATEST"})
	delivered, status := false, "success"
	for over := false; !over; {
		select {
		case a := <-v.answer:
			if a.Failed {
				status = "error"
			}
			delivered = true
			answer <- a
		case <-v.over:
			over = true
		case <-in.exited:
			over = true
			err = in.ended()
			select { // posted right before the end
			case a := <-v.answer:
				delivered = true
				answer <- a
			default:
			}
		}
	}
	if !delivered {
		message := fmt.Sprintf("RequestId: %s Error: Runtime exited", v.id)
		kind := "Runtime.ExitError"
		if errors.Is(err, ErrTimeout) {
			kind, message = "Sandbox.Timedout", fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", v.id, p.Timeout.Seconds())
		}
		answer <- failure(kind, message)
	}
	peak, _ := in.memory("VmHWM:")
	metrics := map[string]any{"durationMs": milliseconds(time.Since(start)), "memorySizeMB": p.Memory, "maxMemoryUsedMB": peak >> 20}
	if cold {
		metrics["initDurationMs"] = milliseconds(in.Started)
	}
	switch {
	case errors.Is(err, ErrTimeout):
		status = "timeout"
	case err != nil:
		status = "failure"
	case peak > int64(p.Memory)<<20:
		status, err = "failure", errors.New("out of memory") // Lambda would have killed it on the way
	}
	p.platform(in, "platform.report", map[string]any{"requestId": v.id, "status": status, "metrics": metrics})
	if err != nil {
		p.end(in)
		return
	}
	p.put(in)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// take is the instance that was used last, or a new one.
func (p *Pool) take() (in *instance, cold bool, err error) {
	p.mu.Lock()
	for len(p.idle) > 0 {
		in = p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		in.idling.Stop()
		select {
		case <-in.exited:
			delete(p.all, in)
			continue
		default:
		}
		p.mu.Unlock()
		return in, false, nil
	}
	p.mu.Unlock()
	in, err = p.start(initTime)
	if errors.Is(err, context.DeadlineExceeded) {
		in, err = p.start(p.Timeout) // Lambda gives a slow start the invocation's time
	}
	if err != nil {
		return nil, true, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, true, errors.Join(errors.New("closed"), in.Close())
	}
	if p.all == nil {
		p.all = map[*instance]struct{}{}
	}
	p.all[in] = struct{}{}
	return in, true, nil
}

func (p *Pool) start(limit time.Duration) (*instance, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	stream := fmt.Sprintf("%s/%s[$LATEST]%032x", time.Now().UTC().Format("2006/01/02"), p.Name, time.Now().UnixNano())
	env := []string{"AWS_LAMBDA_FUNCTION_NAME=" + p.Name, fmt.Sprintf("AWS_LAMBDA_FUNCTION_MEMORY_SIZE=%d", p.Memory), "AWS_LAMBDA_LOG_STREAM_NAME=" + stream,
		"AWS_EXECUTION_ENV=AWS_Lambda_provided.al2023", "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand", "_HANDLER=bootstrap", "TZ=:UTC", "LANG=en_US.UTF-8"}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		env = append(env, name+"="+p.Env[name])
	}
	in, err := Start(ctx, p.Bootstrap, env, &lines{write: func(line []byte) { p.Log(p.Name, stream, line) }})
	if err != nil {
		return nil, err
	}
	return &instance{Instance: in, stream: stream}, nil
}

func (p *Pool) put(in *instance) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		in.idling = time.AfterFunc(idleTime, func() { p.reap(in) })
		p.idle = append(p.idle, in)
	}
	p.mu.Unlock()
	if closed {
		p.end(in)
	}
}

// reap ends an instance that nobody has used.
func (p *Pool) reap(in *instance) {
	p.mu.Lock()
	i := slices.Index(p.idle, in)
	if i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		p.end(in)
	}
}

func (p *Pool) end(in *instance) {
	p.mu.Lock()
	delete(p.all, in)
	p.mu.Unlock()
	_ = in.Close() // what is already ended
}

// Kill ends every instance at once, as a crash does. The next invocations start others.
func (p *Pool) Kill() {
	p.mu.Lock()
	all := slices.Collect(maps.Keys(p.all))
	p.mu.Unlock()
	for _, in := range all {
		p.end(in)
	}
}

// Instances is how many there are.
func (p *Pool) Instances() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

// Close kills every instance and waits for what is running.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	all := slices.Collect(maps.Keys(p.all))
	p.mu.Unlock()
	for _, in := range all {
		p.end(in)
	}
	p.running.Wait()
}

// platform writes what Lambda itself logs of an invocation, in its JSON format.
func (p *Pool) platform(in *instance, kind string, record map[string]any) {
	data, err := json.Marshal(map[string]any{"time": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), "type": kind, "record": record})
	if err == nil {
		p.Log(p.Name, in.stream, data)
	}
}

// lines cuts what is written into lines.
type lines struct {
	mu    sync.Mutex
	rest  []byte
	write func(line []byte)
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		i := slices.Index(l.rest, '\n')
		if i < 0 {
			return len(b), nil
		}
		l.write(l.rest[:i])
		l.rest = l.rest[i+1:]
	}
}
