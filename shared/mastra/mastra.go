// Package mastra is the vocabulary of the project: what an application is made of (agents, tools, workflows, steps),
// what runs it, and the interfaces of what keeps it. Declarations only: no I/O, no HTTP, no AWS.
package mastra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Backends is what an application runs on. Only what a group of routes uses has to be set.
type Backends struct {
	Models  Models             // resolves "provider/model-id"
	Storage Storage            // threads, runs, traces
	Vectors []NamedVectorStore // the first one is the default
	Logs    LogReader          // nil where logs cannot be read back
	Embed   Embedder           // for semantic recall and retrieval
	Agents  AgentRunner
	Engine  WorkflowEngine
	Webhook *Webhook         // the deployment's own; nil where there is none
	Queue   Queue            // nil where a process does everything itself
	Scoring ScoreRunner      // nil: no scorer runs
	Tracing Tracing          // what of runs is recorded
	Logger  *slog.Logger     // slog.Default() where nil
	Now     func() time.Time // time.Now where nil
	Alone   bool             // no other process serves the application: what is chosen at run time holds for all of it
}

// Models makes the language model of an id "provider/model-id"; the empty id is the deployment's default.
type Models func(id string) (LanguageModel, error)

// Config is a whole application.
type Config struct {
	Agents    []*Agent
	Workflows []Workflow
	Tools     []*Tool       // those that the tools routes list besides the agents' own
	Scorers   []*Scorer     // those that traces can be scored with besides the agents' and steps' own
	Webhooks  []Webhook     // told when runs end
	Auth      Authenticator // nil: API keys of the storage
	Backends
}

// Mastra is the registry of one application together with its backends. It is safe for concurrent use.
type Mastra struct {
	Backends
	Auth      Authenticator
	Webhooks  []Webhook // the application's, and the deployment's
	agents    registry[*Agent]
	workflows registry[Workflow]
	tools     registry[*Tool]
	scorers   registry[*Scorer]
	computed  sync.Map // see Once
	chosen    sync.Map // see Choose
	choices   atomic.Int64
}

// New checks an application: ids are unique, every seam between two steps fits, every schema compiles.
// It returns all that is wrong at once.
func New(c Config) (*Mastra, error) {
	m := &Mastra{Backends: c.Backends, Auth: c.Auth}
	if m.Logger == nil {
		m.Logger = slog.Default()
	}
	if m.Now == nil {
		m.Now = time.Now
	}
	var errs []error
	for _, a := range c.Agents {
		errs = append(errs, a.check(), m.agents.add("agent", a.ID, a.Key, a))
	}
	for _, w := range c.Workflows {
		g := w.Graph()
		errs = append(errs, g.check(), m.workflows.add("workflow", g.ID, g.Key, w))
	}
	for _, t := range c.Tools {
		errs = append(errs, m.tools.add("tool", t.ID, t.Key, t))
	}
	for _, s := range c.Scorers {
		errs = append(errs, s.check(), m.scorers.add("scorer", s.ID, "", s))
	}
	for _, s := range m.given() {
		if errs = append(errs, s.check()); !m.scorers.named(s.ID) {
			errs = append(errs, m.scorers.add("scorer", s.ID, "", s))
		}
	}
	for _, a := range c.Agents {
		for _, t := range a.Tools {
			if t, ok := t.(*Tool); ok && !m.tools.has(t) {
				errs = append(errs, m.tools.add("tool", t.ID, t.Key, t))
			}
		}
	}
	m.Webhooks = c.Webhooks
	if c.Webhook != nil {
		m.Webhooks = append(slices.Clip(m.Webhooks), *c.Webhook)
	}
	errs = append(errs, m.checkWebhooks())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return m, nil
}

// Agent finds an agent by its id or key.
func (m *Mastra) Agent(id string) (*Agent, error) {
	if a, ok := m.agents.get(id); ok {
		return a, nil
	}
	return nil, Errorf(CodeNotFound, "Agent with id %s not found", id)
}

// Choose changes the models of an agent for this process, until it ends; nil takes that back.
func (m *Mastra) Choose(a *Agent, models []ModelChoice) {
	defer m.choices.Add(1)
	if models == nil {
		m.chosen.Delete(a)
		return
	}
	c := *a
	c.Model, c.Models = "", models
	if len(models) == 1 && len(a.Models) == 0 {
		c.Model, c.Models = models[0].Model, nil
	}
	m.chosen.Store(a, &c)
}

// Choices changes with each Choose.
func (m *Mastra) Choices() int64 { return m.choices.Load() }

// Chosen is the agent with the models that Choose gave it.
func (m *Mastra) Chosen(a *Agent) *Agent {
	if c, ok := m.chosen.Load(a); ok {
		return c.(*Agent)
	}
	return a
}

// Workflow finds a workflow by its id or key.
func (m *Mastra) Workflow(id string) (Workflow, error) {
	if w, ok := m.workflows.get(id); ok {
		return w, nil
	}
	return nil, Errorf(CodeNotFound, "Workflow not found")
}

// Tool finds a tool by its id or key.
func (m *Mastra) Tool(id string) (*Tool, error) {
	if t, ok := m.tools.get(id); ok {
		return t, nil
	}
	return nil, Errorf(CodeNotFound, "Tool not found")
}

// Scorer finds a scorer by its id.
func (m *Mastra) Scorer(id string) (*Scorer, error) {
	if s, ok := m.scorers.get(id); ok {
		return s, nil
	}
	return nil, Errorf(CodeNotFound, "Scorer '%s' not found", id)
}

// given are the scorers of agents and steps.
func (m *Mastra) given() (all []*Scorer) {
	for _, a := range m.agents.list {
		all = append(all, a.Scorers...)
	}
	for _, w := range m.workflows.list {
		for _, s := range w.Graph().Scorers() {
			all = append(all, s...)
		}
	}
	return all
}

// AllAgents, AllWorkflows, AllTools and AllScorers list in the order of registration. The slices must not be changed.
func (m *Mastra) AllAgents() []*Agent      { return m.agents.list }
func (m *Mastra) AllWorkflows() []Workflow { return m.workflows.list }
func (m *Mastra) AllTools() []*Tool        { return m.tools.list }
func (m *Mastra) AllScorers() []*Scorer    { return m.scorers.list }

// VectorStore finds a store by name; "" is the default one. What a run asks of it shows in its trace.
func (m *Mastra) VectorStore(name string) (VectorStore, error) {
	for _, v := range m.Vectors {
		if name == "" || v.Name == name {
			return &tracedVectors{v.Store, v.Name, m.Now}, nil
		}
	}
	return nil, Errorf(CodeNotFound, "Vector store with name %q not found", name)
}

type registry[T comparable] struct {
	byID map[string]T
	list []T
}

func (r *registry[T]) add(kind, id, key string, v T) error {
	if id == "" {
		return fmt.Errorf("a %s has no ID", kind)
	}
	if r.byID == nil {
		r.byID = map[string]T{}
	}
	for _, name := range []string{id, key} {
		if other, ok := r.byID[name]; name != "" && ok && other != v {
			return fmt.Errorf("two %ss are named %q", kind, name)
		}
	}
	r.byID[id] = v
	if key != "" {
		r.byID[key] = v
	}
	r.list = append(r.list, v)
	return nil
}

func (r *registry[T]) get(id string) (T, bool) { v, ok := r.byID[id]; return v, ok }

func (r *registry[T]) named(id string) bool { _, ok := r.byID[id]; return ok }

func (r *registry[T]) has(v T) bool {
	for _, o := range r.list {
		if o == v {
			return true
		}
	}
	return false
}

type contextKey int

const (
	mastraKey contextKey = iota
	principalKey
	requestKey
	requestContextKey
	spanKey
	stepKey
	sinkKey
)

// NewContext makes m reachable from the tools and steps that run under ctx. The runners call it.
func NewContext(ctx context.Context, m *Mastra) context.Context {
	return context.WithValue(ctx, mastraKey, m)
}

// From is the Mastra that runs the calling tool or step, nil outside of one.
func From(ctx context.Context) *Mastra { m, _ := ctx.Value(mastraKey).(*Mastra); return m }
