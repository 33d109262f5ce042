package agents

import (
	"context"
	"iter"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

func approvalRoutes() []server.Route {
	read, run := server.Permission("agents:read"), server.Permission("agents:execute")
	return []server.Route{
		server.Stream("POST /agents/:agentId/observe", server.SSE, Observe, read, server.Summary("Follow a run from any place, during and after it")),
		server.JSON("GET /agents/:agentId/suspended-runs", SuspendedRuns, read, server.Summary("List the runs that wait for an answer")),
		server.Stream("POST /agents/:agentId/approve-tool-call", server.SSE, ApproveToolCall, run, server.Summary("Approve a tool call and stream what follows")),
		server.Stream("POST /agents/:agentId/decline-tool-call", server.SSE, DeclineToolCall, run, server.Summary("Decline a tool call and stream what follows")),
		server.JSON("POST /agents/:agentId/approve-tool-call-generate", ApproveToolCallGenerate, run, server.Long, server.Summary("Approve a tool call and answer what follows")),
		server.JSON("POST /agents/:agentId/decline-tool-call-generate", DeclineToolCallGenerate, run, server.Long, server.Summary("Decline a tool call and answer what follows")),
		server.JSON("POST /agents/:agentId/send-tool-approval", SendToolApproval, run, server.Summary("Approve or decline a tool call; the thread's subscribers see what follows")),
		server.Stream("POST /agents/:agentId/resume-stream", server.SSE, ResumeStream, run, server.Summary("Answer a suspended tool and stream what follows")),
		server.Stream("POST /agents/:agentId/resume-stream-until-idle", server.SSE, ResumeStream, run, server.Summary("Answer a suspended tool and stream what follows")),
		server.Stream("POST /agents/:agentId/approve-network-tool-call", server.SSE, ApproveNetworkToolCall, run, server.Summary("Approve what a network waits for and stream what follows")),
		server.Stream("POST /agents/:agentId/decline-network-tool-call", server.SSE, DeclineNetworkToolCall, run, server.Summary("Decline what a network waits for and stream what follows")),
		server.Stream("POST /agents/:agentId/recover", server.SSE, Recover, run, server.Summary("Follow a run whose process died: it is taken over by itself")),
	}
}

// ObserveInput names a run and the place to begin at: Last-Event-ID, or how many chunks to pass over.
type ObserveInput struct {
	AgentID string `path:"agentId" json:"-"`
	RunID   string `json:"runId" maxLength:"256"`
	Offset  int    `json:"offset,omitzero" minimum:"0"`
}

// Observe yields a run's chunks until its stream stops: what there is already, then what comes.
func Observe(ctx context.Context, m *mastra.Mastra, in ObserveInput) (iter.Seq2[mastra.Chunk, error], error) {
	if _, err := m.Agent(in.AgentID); err != nil {
		return nil, err
	}
	var after mastra.Position
	if r := mastra.RequestOf(ctx); r != nil {
		var err error
		if after, err = mastra.ParsePosition(r.LastEventID); err != nil {
			return nil, err
		}
	}
	chunks, err := m.Agents.Observe(ctx, m, in.RunID, after)
	if err != nil || in.Offset == 0 || after != (mastra.Position{}) {
		return chunks, err
	}
	return func(yield func(mastra.Chunk, error) bool) {
		n := 0
		for c, err := range chunks {
			if n++; n <= in.Offset && err == nil {
				continue
			}
			if !yield(c, err) {
				return
			}
		}
	}, nil
}

// Recover is Observe: nothing has to be asked to take over a run whose process died.
func Recover(ctx context.Context, m *mastra.Mastra, in RecoverInput) (iter.Seq2[mastra.Chunk, error], error) {
	return Observe(ctx, m, ObserveInput{AgentID: in.AgentID, RunID: in.RunID})
}

// RecoverInput names a run.
type RecoverInput struct {
	AgentID string `path:"agentId" json:"-"`
	RunID   string `json:"runId" maxLength:"256"`
}

// SuspendedRunsInput filters suspended runs.
type SuspendedRunsInput struct {
	AgentID    string      `path:"agentId" json:"-"`
	ThreadID   string      `query:"threadId" json:"-"`
	ResourceID string      `query:"resourceId" json:"-"`
	FromDate   mastra.Time `query:"fromDate" json:"-"`
	ToDate     mastra.Time `query:"toDate" json:"-"`
	PerPage    int         `query:"perPage" json:"-" minimum:"1" maximum:"1000"`
	Page       int         `query:"page" json:"-" minimum:"0"`
}

// SuspendedRunList is a page of suspended runs, the newest first.
type SuspendedRunList struct {
	Runs  []SuspendedRun `json:"runs"`
	Total int            `json:"total"`
}

// SuspendedRun is a run that waits.
type SuspendedRun struct {
	RunID       string           `json:"runId"`
	Status      mastra.RunStatus `json:"status"`
	ThreadID    string           `json:"threadId,omitempty"`
	ResourceID  string           `json:"resourceId,omitempty"`
	SuspendedAt mastra.Time      `json:"suspendedAt"`
	ToolCalls   []PendingCall    `json:"toolCalls"`
}

// PendingCall is what a run waits for.
type PendingCall struct {
	ToolCallID       string      `json:"toolCallId"`
	ToolName         string      `json:"toolName"`
	Args             mastra.JSON `json:"args,omitzero"`
	RequiresApproval bool        `json:"requiresApproval"`
	SuspendPayload   mastra.JSON `json:"suspendPayload,omitzero"`
}

// maxSuspended is how many suspended runs are looked through for those of one thread.
const maxSuspended = 1000

// SuspendedRuns lists the runs of an agent that wait for an answer.
func SuspendedRuns(ctx context.Context, m *mastra.Mastra, in SuspendedRunsInput) (SuspendedRunList, error) {
	out := SuspendedRunList{Runs: []SuspendedRun{}}
	a, err := m.Agent(in.AgentID)
	if err != nil || m.Storage == nil {
		return out, err
	}
	if in.ThreadID != "" {
		if a.Memory == nil {
			return out, mastra.Errorf(mastra.CodeForbidden, "Access denied: agent has no memory configured to validate thread ownership")
		}
		thread, err := m.Storage.Thread(ctx, in.ThreadID)
		if mastra.CodeOf(err) == mastra.CodeNotFound || err == nil && thread.ResourceID != mastra.Resource(ctx, thread.ResourceID) {
			return out, mastra.Errorf(mastra.CodeForbidden, "Access denied: thread not found")
		} else if err != nil {
			return out, err
		}
	}
	paging := mastra.Paging{Page: in.Page, PerPage: in.PerPage}
	if paging.PerPage == 0 {
		paging.PerPage = 100
	}
	found, err := suspended(ctx, m, a, in, paging)
	if err != nil {
		return out, err
	}
	out.Runs, out.Total = found.Items, found.Total
	return out, nil
}

func suspended(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, in SuspendedRunsInput, paging mastra.Paging) (*mastra.Page[SuspendedRun], error) {
	q := mastra.RunQuery{WorkflowID: mastra.AgentRuns + a.ID, ResourceID: mastra.Resource(ctx, in.ResourceID), Status: mastra.StatusSuspended, From: in.FromDate, To: in.ToDate, Paging: paging}
	if in.ThreadID != "" {
		q.Paging = mastra.Paging{PerPage: maxSuspended}
	}
	page, err := m.Storage.Runs(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &mastra.Page[SuspendedRun]{Items: []SuspendedRun{}, Total: page.Total}
	for i := range page.Items {
		r := &page.Items[i]
		var calls []mastra.PendingCall
		if err := schema.Unmarshal(r.Result, &calls); err != nil {
			return nil, err
		}
		s := SuspendedRun{RunID: r.ID, Status: r.Status, ResourceID: r.ResourceID, SuspendedAt: r.UpdatedAt, ToolCalls: []PendingCall{}}
		for _, c := range calls {
			s.ThreadID = c.ThreadID
			s.ToolCalls = append(s.ToolCalls, PendingCall{c.ToolCallID, c.ToolName, c.Args, c.RequiresApproval, c.SuspendPayload})
		}
		if in.ThreadID == "" || s.ThreadID == in.ThreadID {
			out.Items = append(out.Items, s)
		}
	}
	if in.ThreadID != "" {
		out.Total = len(out.Items)
		from := min(len(out.Items), paging.Page*paging.PerPage)
		out.Items = out.Items[from:min(len(out.Items), from+paging.PerPage)]
	}
	return out, nil
}

// ToolCallInput names a tool call that waits for approval.
type ToolCallInput struct {
	AgentID        string                `path:"agentId" json:"-"`
	RunID          string                `json:"runId" maxLength:"256"`
	ToolCallID     string                `json:"toolCallId" minLength:"1" maxLength:"1024"`
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"`
	Reason         string                `json:"reason,omitempty" maxLength:"10000"` // for declining
}

// decision is the answer to a request for approval.
type decision struct {
	Approved bool   `json:"approved"`
	Reason   string `json:"reason,omitempty"`
}

func (in ToolCallInput) resume(m *mastra.Mastra, approved bool) (*mastra.Agent, mastra.AgentResume, error) {
	a, err := m.Agent(in.AgentID)
	if err != nil {
		return nil, mastra.AgentResume{}, err
	}
	d := decision{Approved: approved}
	if !approved {
		d.Reason = in.Reason
	}
	data, err := schema.Marshal(d)
	return a, mastra.AgentResume{RunID: in.RunID, ToolCallID: in.ToolCallID, Data: data, Context: in.RequestContext}, err
}

// ApproveToolCall has the tool run and yields what follows. One of several answers at once wins, the others are a CodeConflict.
func ApproveToolCall(ctx context.Context, m *mastra.Mastra, in ToolCallInput) (iter.Seq2[mastra.Chunk, error], error) {
	a, c, err := in.resume(m, true)
	if err != nil {
		return nil, err
	}
	return m.Agents.ResumeStream(ctx, m, a, c)
}

// DeclineToolCall tells the model that the tool was not run, with the reason, and yields what follows.
func DeclineToolCall(ctx context.Context, m *mastra.Mastra, in ToolCallInput) (iter.Seq2[mastra.Chunk, error], error) {
	a, c, err := in.resume(m, false)
	if err != nil {
		return nil, err
	}
	return m.Agents.ResumeStream(ctx, m, a, c)
}

// NetworkToolCallInput names a network's run: one call of it waits at most.
type NetworkToolCallInput struct {
	AgentID        string                `path:"agentId" json:"-"`
	RunID          string                `json:"runId" maxLength:"256"`
	Reason         string                `json:"reason,omitempty" maxLength:"10000"` // for declining
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"`
}

// ApproveNetworkToolCall is ApproveToolCall for what a network waits for.
func ApproveNetworkToolCall(ctx context.Context, m *mastra.Mastra, in NetworkToolCallInput) (iter.Seq2[mastra.Chunk, error], error) {
	return in.answer(ctx, m, ApproveToolCall)
}

// DeclineNetworkToolCall is DeclineToolCall for what a network waits for.
func DeclineNetworkToolCall(ctx context.Context, m *mastra.Mastra, in NetworkToolCallInput) (iter.Seq2[mastra.Chunk, error], error) {
	return in.answer(ctx, m, DeclineToolCall)
}

func (in NetworkToolCallInput) answer(ctx context.Context, m *mastra.Mastra, how func(context.Context, *mastra.Mastra, ToolCallInput) (iter.Seq2[mastra.Chunk, error], error)) (iter.Seq2[mastra.Chunk, error], error) {
	a, err := m.Agent(in.AgentID)
	if err != nil {
		return nil, err
	}
	if a.Memory == nil {
		return nil, mastra.Errorf(mastra.CodeInvalid, "Memory is required for the agent network to function properly. Please configure memory for the agent.")
	}
	return how(ctx, m, ToolCallInput{AgentID: in.AgentID, RunID: in.RunID, Reason: in.Reason, RequestContext: in.RequestContext})
}

// ApproveToolCallGenerate is ApproveToolCall with one answer at the end.
func ApproveToolCallGenerate(ctx context.Context, m *mastra.Mastra, in ToolCallInput) (*mastra.AgentResult, error) {
	a, c, err := in.resume(m, true)
	if err != nil {
		return nil, err
	}
	return m.Agents.Resume(ctx, m, a, c)
}

// DeclineToolCallGenerate is DeclineToolCall with one answer at the end.
func DeclineToolCallGenerate(ctx context.Context, m *mastra.Mastra, in ToolCallInput) (*mastra.AgentResult, error) {
	a, c, err := in.resume(m, false)
	if err != nil {
		return nil, err
	}
	return m.Agents.Resume(ctx, m, a, c)
}

// ResumeInput answers a call that waits.
type ResumeInput struct {
	AgentID        string                `path:"agentId" json:"-"`
	RunID          string                `json:"runId" maxLength:"256"`
	ToolCallID     string                `json:"toolCallId,omitempty" maxLength:"1024"` // where several wait
	ResumeData     mastra.JSON           `json:"resumeData"`
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"`
	TracingOptions mastra.TracingOptions `json:"tracingOptions,omitzero"`
	MaxIdleMs      int                   `json:"maxIdleMs,omitzero" minimum:"1"` // there is nothing to idle for
}

// ResumeStream gives a suspended tool what it waits for and yields what follows.
func ResumeStream(ctx context.Context, m *mastra.Mastra, in ResumeInput) (iter.Seq2[mastra.Chunk, error], error) {
	a, err := m.Agent(in.AgentID)
	if err != nil {
		return nil, err
	}
	return m.Agents.ResumeStream(ctx, m, a, mastra.AgentResume{RunID: in.RunID, ToolCallID: in.ToolCallID, Data: in.ResumeData, Context: in.RequestContext, Tracing: in.TracingOptions})
}

// SendToolApprovalInput answers a call of a thread's run.
type SendToolApprovalInput struct {
	AgentID        string                `path:"agentId" json:"-"`
	ResourceID     string                `json:"resourceId" maxLength:"256"`
	ThreadID       string                `json:"threadId" minLength:"1" maxLength:"256"`
	ToolCallID     string                `json:"toolCallId" minLength:"1" maxLength:"1024"`
	Approved       bool                  `json:"approved"`
	ResumeData     mastra.JSON           `json:"resumeData,omitzero"` // for a tool that suspended
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"`
}

// Accepted says which run goes on.
type Accepted struct {
	Accepted   bool   `json:"accepted"`
	RunID      string `json:"runId"`
	ToolCallID string `json:"toolCallId,omitempty"`
}

// SendToolApproval answers a call and returns once that is durable; the run goes on, its thread's subscribers see it.
func SendToolApproval(ctx context.Context, m *mastra.Mastra, in SendToolApprovalInput) (Accepted, error) {
	a, err := m.Agent(in.AgentID)
	if err != nil {
		return Accepted{}, err
	}
	if m.Storage != nil {
		found, err := suspended(ctx, m, a, SuspendedRunsInput{ResourceID: in.ResourceID, ThreadID: in.ThreadID}, mastra.Paging{PerPage: maxSuspended})
		if err != nil {
			return Accepted{}, err
		}
		for _, r := range found.Items {
			for _, c := range r.ToolCalls {
				if c.ToolCallID != in.ToolCallID {
					continue
				}
				data := in.ResumeData
				if c.RequiresApproval {
					if data, err = schema.Marshal(decision{Approved: in.Approved}); err != nil {
						return Accepted{}, err
					}
				}
				_, err := m.Agents.ResumeStream(ctx, m, a, mastra.AgentResume{RunID: r.RunID, ToolCallID: in.ToolCallID, Data: data, Context: in.RequestContext})
				return Accepted{true, r.RunID, in.ToolCallID}, err
			}
		}
	}
	return Accepted{}, mastra.Errorf(mastra.CodeNotFound, "Agent %q could not find an active or suspended run for thread %q. The run may have already completed or been resumed.", a.Name, in.ThreadID)
}
