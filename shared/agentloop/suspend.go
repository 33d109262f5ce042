package agentloop

import (
	"errors"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// errSuspended ends a run that waits for an answer.
var errSuspended = errors.New("the run waits for an answer")

// approvalSchema is what an approval is answered with, as the reference server writes it.
const approvalSchema = `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"approved":{"type":"boolean","description":"Controls if the tool call is approved or not, should be true when approved and false when declined"},"reason":{"description":"Optional explanation for the decision, surfaced to the model when the tool call is declined","type":"string"}},"required":["approved"],"additionalProperties":false}`

// decision is an answer to a request for approval.
type decision struct {
	Approved bool   `json:"approved"`
	Reason   string `json:"reason,omitempty" maxLength:"10000"`
}

var decisions = schema.For[decision]

const declinedReason = "Tool call was not approved by the user"

func (c *call) reason() string {
	if c.Reason != "" {
		return c.Reason
	}
	return declinedReason
}

func (c *call) approval() mastra.Approval {
	a := mastra.Approval{ID: c.ID, Approved: *c.Verdict}
	if !a.Approved {
		a.Reason = c.reason()
	}
	return a
}

// resumeSchema is what a waiting call is answered with.
func (x *run) resumeSchema(c *call) string {
	switch {
	case c.Waits == waitsApproval:
		return approvalSchema
	case c.Sub != nil:
		return c.Sub.Resume
	}
	if t := x.tool(c.Name); t != nil && t.Resume != nil {
		return string(t.Resume.JSON())
	}
	return ""
}

// waiting are the calls of the last step that wait.
func (x *run) waiting() (list []*call) {
	if n := len(x.Steps); n > 0 {
		for _, c := range x.Steps[n-1].calls() {
			if c.Waits != "" {
				list = append(list, c)
			}
		}
	}
	return list
}

// pending is what the run waits for.
func (x *run) pending() (list []mastra.PendingCall) {
	for _, c := range x.waiting() {
		list = append(list, mastra.PendingCall{ToolCallID: c.ID, ToolName: c.shownName(), Args: c.shownArgs(), RequiresApproval: c.Waits == waitsApproval,
			SuspendPayload: c.Payload, ResumeSchema: x.resumeSchema(c), ThreadID: x.call.ThreadID})
	}
	return list
}

func (x *run) emitWaiting() {
	for _, c := range x.waiting() {
		if x.call.Network {
			x.emitAsked(c)
			continue
		}
		kind := mastra.ChunkApproval
		if c.Waits == waitsTool {
			kind = mastra.ChunkSuspended
		}
		x.emit(kind, x.waits(c))
	}
}

func (x *run) waits(c *call) mastra.ToolWaits {
	return mastra.ToolWaits{ToolCallID: c.ID, ToolName: c.shownName(), SuspendPayload: c.Payload, Args: c.shownArgs(), ResumeSchema: x.resumeSchema(c)}
}

// appendWaiting appends what user interfaces look at in a message's metadata: the calls that wait.
func (x *run) appendWaiting(b []byte) []byte {
	for _, kind := range []struct{ waits, key, name string }{{waitsApproval, "pendingToolApprovals", "approval"}, {waitsTool, "suspendedTools", "suspension"}} {
		first := true
		for _, c := range x.waiting() {
			if c.Waits != kind.waits {
				continue
			}
			if first {
				b = append(append(append(b, `,"`...), kind.key...), `":{`...)
			} else {
				b = append(b, ',')
			}
			first = false
			b = x.appendWaits(append(schema.AppendString(b, c.ID), ':'), c, kind.name)
		}
		if !first {
			b = append(b, '}')
		}
	}
	return b
}

func (x *run) appendWaits(b []byte, c *call, kind string) []byte {
	b = appendMember(b, `{"toolCallId":`, c.ID)
	b = appendMember(b, `,"toolName":`, c.shownName())
	b = appendJSON(b, `,"args":`, c.shownArgs())
	b = c.appendParent(b)
	b = appendMember(b, `,"type":`, kind)
	b = appendMember(b, `,"runId":`, x.RunID)
	if c.Sub != nil {
		b = appendMember(b, `,"delegatedRunId":`, c.Sub.RunID)
	}
	if c.Waits == waitsTool {
		b = appendJSON(b, `,"suspendPayload":`, c.Payload)
	}
	b = appendOptional(b, `,"resumeSchema":`, x.resumeSchema(c))
	return append(b, '}')
}

// suspendedResult turns an answer into that of a run that waits.
func (x *run) suspendedResult(r *mastra.AgentResult) {
	waiting := x.waiting()
	r.FinishReason, r.Steps = mastra.FinishSuspended, []mastra.AgentStep{}
	r.ToolResults = nil
	c := waiting[0]
	w := x.waits(c)
	r.ResumeSchema = w.ResumeSchema
	if c.inner() { // the reference server shows the call within the one that is to be answered
		within := w
		within.ToolCallID = c.Sub.CallID
		if data, err := schema.Marshal(within); err == nil {
			w.ToolName, w.Args, w.SuspendPayload = c.Name, c.args(), data
		}
	}
	if data, err := schema.Marshal(w); err == nil {
		r.SuspendPayload = data
	}
}
