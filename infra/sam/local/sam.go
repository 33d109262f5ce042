package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.yaml.in/yaml/v3"

	"mastralambda/infra/lambdalocal"
	"mastralambda/infra/services/cloudwatchlogs"
	"mastralambda/shared/storage/dynamodb"
	"mastralambda/shared/vectorstore/pgvector"
)

type options struct {
	root       string
	port       int
	dynamoDB   string   // endpoint on this machine
	vectorURL  string   // of a Postgres on this machine, which is migrated
	tables     string   // begins their names
	parameters []string // Name=value, of template.yaml
	log        io.Writer
}

// session is a running sam local.
type session struct {
	url    string
	exited chan struct{}
	cmd    *exec.Cmd
	close  []func() error
}

// start builds the functions and serves them. Its log has what they log.
func start(ctx context.Context, o options) (_ *session, err error) {
	s := &session{url: fmt.Sprintf("http://127.0.0.1:%d", o.port), exited: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	if o.root, err = filepath.Abs(o.root); err != nil {
		return nil, err
	}
	tables := dynamodb.Tables{Threads: o.tables + "-threads", Runs: o.tables + "-runs", Observability: o.tables + "-observability"}
	store := dynamodb.Open(aws.Config{Region: "us-east-1", BaseEndpoint: &o.dynamoDB, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}, tables)
	if err := errors.Join(store.CreateTables(ctx), store.Close()); err != nil {
		return nil, fmt.Errorf("the tables: %w", err)
	}
	host, address, err := seenFromContainers(ctx)
	if err != nil {
		return nil, err
	}
	forwarded := func(text string) (string, error) {
		u, err := url.Parse(text)
		if err != nil {
			return "", err
		}
		port, err := s.forward(ctx, address, u.Host)
		u.Host = fmt.Sprintf("%s:%d", host, port)
		return u.String(), err
	}
	endpoint, err := forwarded(o.dynamoDB)
	if err != nil {
		return nil, err
	}
	postgres, err := forwarded(o.vectorURL)
	if err != nil {
		return nil, err
	}
	logs := &cloudwatchlogs.Server{}
	logged, err := s.serve(ctx, address, logs)
	if err != nil {
		return nil, err
	}
	vectors, err := s.vectors(ctx, o)
	if err != nil {
		return nil, err
	}
	invoked, err := s.serve(ctx, address, vectors.InvokeAPI())
	if err != nil {
		return nil, err
	}
	sam := func(args ...string) *exec.Cmd {
		bin := filepath.Join(o.root, ".tools/sam/bin") // by python: a moved checkout has moved environments
		cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(bin, "python"), append([]string{filepath.Join(bin, "sam")}, args...)...)
		cmd.Dir, cmd.Env = o.root, environment()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal reaches it through stop only
		return cmd
	}
	architecture := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	parameters := append([]string{"Architecture=" + architecture, "Auth=off", "Vectors=existing", "VectorUrlSecret=local"}, o.parameters...)
	build := sam(append([]string{"build", "--parameter-overrides"}, parameters...)...)
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("sam build: %w: %s", err, out)
	}
	built := filepath.Join(o.root, ".aws-sam/build/template.yaml")
	local := filepath.Join(o.root, ".aws-sam/build/local.yaml")
	err = patch(built, local, map[string]string{
		"STORAGE_URL":                      fmt.Sprintf("dynamodb://?threads=%s&runs=%s&observability=%s", tables.Threads, tables.Runs, tables.Observability),
		"AWS_ENDPOINT_URL_DYNAMODB":        endpoint,
		"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": fmt.Sprintf("http://%s:%d", host, logged),
		"AWS_ENDPOINT_URL_LAMBDA":          fmt.Sprintf("http://%s:%d", host, invoked),
		"VECTOR_URL":                       postgres,
		"VECTOR_FUNCTION":                  vectorsFunction,
		"CODE_VERSION":                     "0",
		"QUEUE_URL":                        "", // sam local has no event sources: what would be handed over to the worker is not
	})
	if err != nil {
		return nil, err
	}
	args := []string{"local", "start-api", "--template", local, "--port", fmt.Sprint(o.port), "--host", "127.0.0.1", "--warm-containers", "LAZY",
		"--container-dns", "127.0.0.1"}
	if os.Getenv("SAM_SKIP_PULL") != "" {
		args = append(args, "--skip-pull-image")
	}
	s.cmd = sam(append(append(args, "--parameter-overrides"), parameters...)...)
	read, write := io.Pipe()
	s.cmd.Stdout, s.cmd.Stderr = write, write
	go func() { // what functions log is in between of sam's own lines
		lines := bufio.NewScanner(read)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "{") {
				logs.Put("LogGroup", "sam", time.Now(), lines.Text())
			}
			fmt.Fprintln(o.log, lines.Text())
		}
		_, _ = io.Copy(io.Discard, read)
	}()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = s.cmd.Wait(); _ = write.Close(); close(s.exited) }()
	return s, s.ready(ctx)
}

// ready waits until the port answers.
func (s *session) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(s.url, "http://"))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-s.exited:
			return errors.New("sam local start-api ended: what it said is above")
		case <-ctx.Done():
			return fmt.Errorf("sam local start-api does not answer: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// stop ends sam, which removes its containers, and what they reached.
func (s *session) stop() error {
	var errs []error
	if s.cmd != nil && s.cmd.Process != nil {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
		<-s.exited
	}
	for _, c := range slices.Backward(s.close) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// environment is this process's without AWS keys: with them sam would call STS. Nothing is reported, nor looked up.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") {
			env = append(env, v)
		}
	}
	return append(env, "GOARCH="+runtime.GOARCH, "SAM_CLI_TELEMETRY=0", "AWS_EC2_METADATA_DISABLED=true", "AWS_DEFAULT_REGION=us-east-1")
}

// seenFromContainers is the name by which containers reach this machine, and the address to listen on for them: the bridge of an
// engine on this machine, or loopback where the engine is in a virtual machine.
func seenFromContainers(ctx context.Context) (host, address string, err error) {
	const format = `{{range .IPAM.Config}}{{.Gateway}}{{end}} {{index .Options "com.docker.network.bridge.name"}}`
	out, err := exec.CommandContext(ctx, "docker", "network", "inspect", "bridge", "--format", format).CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("no container engine answers: %w: %s", err, out)
	}
	gateway, name, _ := strings.Cut(strings.TrimRight(string(out), "\n"), " ")
	if gateway == "" { // an engine that runs for the first time does not say
		gateway = firstAddress(name)
	}
	if gateway == "" {
		return "host.docker.internal", "127.0.0.1", nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(gateway, "0"))
	if err != nil {
		return "host.docker.internal", "127.0.0.1", nil //nolint:nilerr // the bridge is not of this machine
	}
	return gateway, gateway, listener.Close()
}

// firstAddress is the IPv4 address of one of this machine's interfaces, "" where there is none.
func firstAddress(name string) string {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return ""
	}
	addresses, err := i.Addrs()
	if err != nil {
		return ""
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	return ""
}

// forward gives containers a service that listens on loopback only.
func (s *session) forward(ctx context.Context, address, to string) (port int, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return 0, err
	}
	s.close = append(s.close, listener.Close)
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return // it is closed
			}
			go join(in, to)
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// join copies both ways until one side ends.
func join(in net.Conn, to string) {
	out, err := net.Dial("tcp", to) //nolint:noctx // for as long as the connection is
	if err != nil {
		_ = in.Close()
		return
	}
	end := func() { _, _ = in.Close(), out.Close() }
	go func() { _, _ = io.Copy(in, out); end() }()
	_, _ = io.Copy(out, in)
	end()
}

func (s *session) serve(ctx context.Context, address string, h http.Handler) (port int, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return 0, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	s.close = append(s.close, server.Close)
	go func() { _ = server.Serve(listener) }() // until it is closed
	return listener.Addr().(*net.TCPAddr).Port, nil
}

const vectorsFunction = "VectorsFunction"

// vectors is the function that others invoke, which sam local start-api does not let them: run as lambdalocal runs functions.
func (s *session) vectors(ctx context.Context, o options) (*lambdalocal.Stack, error) {
	store, err := pgvector.Open(o.vectorURL)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(store.Migrate(ctx), store.Close()); err != nil {
		return nil, fmt.Errorf("the vectors' database: %w", err)
	}
	template, err := lambdalocal.Load(filepath.Join(o.root, "template.yaml"), lambdalocal.Given{
		Parameters: map[string]string{"Vectors": "existing", "VectorUrlSecret": "local", "Auth": "off"},
		Env:        map[string]string{"VECTOR_URL": o.vectorURL, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}})
	if err != nil {
		return nil, err
	}
	template.Functions = slices.DeleteFunc(template.Functions, func(f lambdalocal.Function) bool { return f.Name != vectorsFunction })
	built := filepath.Join(o.root, ".aws-sam/build", vectorsFunction, "bootstrap")
	stack, err := lambdalocal.Up(template, lambdalocal.Options{Bootstraps: func(string) string { return built }, Logger: slog.New(slog.NewTextHandler(o.log, nil)),
		Log: func(_, _ string, line []byte) { fmt.Fprintf(o.log, "%s\n", line) }})
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, func() error { stack.Close(); return nil })
	return stack, nil
}

// patch writes a template whose functions have more in their environment: sam's own overrides reach only variables that a
// template declares.
func patch(from, to string, env map[string]string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return err
	}
	set := func(variables *yaml.Node, declared bool) {
		for name, value := range env {
			v := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
			if there := child(variables, name); there != nil {
				*there = *v
			} else if !declared {
				variables.Content = append(variables.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, v)
			}
		}
	}
	globals := within(doc.Content[0], "Globals", "Function", "Environment", "Variables")
	if globals == nil {
		return fmt.Errorf("%s has no Globals.Function.Environment.Variables", from)
	}
	set(globals, false)
	resources := child(doc.Content[0], "Resources")
	for i := 1; i < len(resources.Content); i += 2 { // what functions declare themselves
		if variables := within(resources.Content[i], "Properties", "Environment", "Variables"); variables != nil {
			set(variables, true)
		}
	}
	if data, err = yaml.Marshal(&doc); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

func within(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		if n = child(n, key); n == nil {
			return nil
		}
	}
	return n
}

func child(n *yaml.Node, key string) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
