package agentloop

import (
	"context"
	"errors"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// signalInfo is what a stored message, and a chunk, tell of a signal.
type signalInfo struct {
	ID         string      `json:"id"`
	Type       string      `json:"type"`
	TagName    string      `json:"tagName"`
	Contents   mastra.JSON `json:"contents,omitzero"`
	CreatedAt  mastra.Time `json:"createdAt"`
	AcceptedAt mastra.Time `json:"acceptedAt"`
	Metadata   mastra.JSON `json:"metadata,omitzero"`
}

// signalled is a signal as it is stored.
func (x *run) signalled(s *mastra.ThreadSignal, at mastra.Time) mastra.Message {
	info := struct {
		Signal signalInfo `json:"signal"`
	}{signalInfo{ID: s.ID, Type: s.Type, TagName: s.TagName, CreatedAt: at, AcceptedAt: s.AcceptedAt, Metadata: s.Metadata}}
	message := mastra.Message{ID: s.ID, Role: "signal", Type: s.Type, CreatedAt: at, ThreadID: x.threadID, ResourceID: x.resourceOfMessages()}
	metadata, err := schema.Marshal(info)
	if err == nil {
		message.Content, err = schema.Marshal(mastra.Content{Format: 2, Parts: stampedParts(s.Contents, int64(at)), Metadata: metadata})
	}
	if err != nil {
		message.Content = mastra.JSON(`{"format":2,"parts":[]}`)
	}
	return message
}

func stampedParts(parts []mastra.Part, at int64) []mastra.Part {
	out := make([]mastra.Part, len(parts))
	for i, p := range parts {
		p.CreatedAt = at
		out[i] = p
	}
	return out
}

// tagged are the parts of a stored signal as a model sees them: what is no user's stands in its tag.
func tagged(c mastra.Content) []mastra.Part {
	var info struct {
		Signal signalInfo `json:"signal"`
	}
	if c.Metadata == nil || schema.Unmarshal(c.Metadata, &info) != nil || info.Signal.TagName == "" || info.Signal.TagName == "user" {
		return c.Parts
	}
	out := make([]mastra.Part, len(c.Parts))
	for i, p := range c.Parts {
		if p.Type == mastra.PartText { // nothing in it closes the tag
			p.Text = "<" + info.Signal.TagName + ">" + strings.ReplaceAll(p.Text, "</", "<\\/") + "</" + info.Signal.TagName + ">"
		}
		out[i] = p
	}
	return out
}

// emitSignal shows the run's readers a message that came to it.
func (x *run) emitSignal(s *mastra.ThreadSignal) {
	if x.log == nil {
		return
	}
	var contents any = []mastra.Part(s.Contents)
	if len(s.Contents) == 1 && s.Contents[0].Type == mastra.PartText {
		contents = s.Contents[0].Text
	}
	shown, err := schema.Marshal(contents)
	if err != nil {
		return
	}
	data, err := schema.Marshal(signalInfo{ID: s.ID, Type: s.Type, TagName: s.TagName, Contents: shown, CreatedAt: x.now(), AcceptedAt: s.AcceptedAt, Metadata: s.Metadata})
	if err == nil {
		x.emitChunk(mastra.Chunk{Type: mastra.ChunkUserMessage, RunID: x.RunID, Data: data, Transient: true})
	}
}

// came takes in what came to the run while step n was done: the answer so far is a message of its own, and the model is
// asked again.
func (x *run) came(n int, mayGoOn bool) (bool, error) {
	if !x.inThread {
		return false, nil
	}
	x.r.convs.mu.Lock()
	o := x.r.convs.all[conversationKey(x.ctx, x.call.ThreadID)]
	var messages []mastra.AgentMessage
	mail := false
	if o != nil && o.active == x {
		messages, o.inbox = o.inbox, nil
		mail = o.mail
	}
	x.r.convs.mu.Unlock()
	if x.hasMail(mail) {
		messages = append(messages, x.mailbox(false)...)
	}
	for i := range messages {
		signal, err := x.processSignal(&messages[i].Signal)
		if err != nil { // the others begin a run of their own
			return false, errors.Join(err, x.refuse(messages[i:i+1]))
		}
		messages[i].Signal = *signal
	}
	for len(messages) > 0 {
		taken, err := x.takeUp(n, mayGoOn, messages)
		if taken != nil {
			x.took([]mastra.AgentMessage{{Signal: mastra.ThreadSignal{ID: taken.Existing.Owner}}})
			messages = slices.DeleteFunc(messages, func(s mastra.AgentMessage) bool { return s.Signal.ID == taken.Existing.Owner })
			continue
		}
		return true, err
	}
	return false, nil
}

// refuse takes messages that a processor has stopped.
func (x *run) refuse(messages []mastra.AgentMessage) error {
	x.took(messages)
	b := &mastra.Batch{}
	for i := range messages {
		if s := &messages[i].Signal; s.Mailed {
			b.Claims = append(b.Claims, claimed(x.m, s))
		}
	}
	if len(b.Claims) == 0 {
		return nil
	}
	err := x.commit(context.WithoutCancel(x.ctx), b)
	var other *mastra.ClaimedError
	if errors.As(err, &other) {
		return nil
	}
	return err
}

// takeUp stores messages behind step n, all at once. It does nothing where somebody else has one of them: that one's claim.
func (x *run) takeUp(n int, mayGoOn bool, messages []mastra.AgentMessage) (taken *mastra.ClaimedError, err error) {
	s := &x.Steps[n]
	x.makeAnswer()
	b := &mastra.Batch{}
	if x.stores() && x.answer.ID != "" {
		b.Messages = append(b.Messages, x.answer)
	}
	at := max(x.now(), x.answer.CreatedAt+1)
	for i := range messages {
		signal := &messages[i].Signal
		message := x.signalled(signal, at+mastra.Time(i))
		s.Came = append(s.Came, message)
		if x.stores() {
			b.Messages = append(b.Messages, message)
		}
		if signal.Mailed {
			b.Claims = append(b.Claims, claimed(x.m, signal))
		}
	}
	s.Next = mastra.NewID()
	x.noteStep(n)
	ctx := context.WithoutCancel(x.ctx)
	err = x.withChunks(b, false, func() error {
		return x.writeRecord(b, mastra.StatusRunning, n+1, func() error { return x.commit(ctx, b) })
	})
	if errors.As(err, &taken) {
		s.Came, s.Next = nil, ""
		return taken, nil
	}
	x.took(messages)
	for i := range messages {
		x.emitSignal(&messages[i].Signal)
	}
	if !s.continued() || !mayGoOn { // else it is there already
		x.prompt = appendStep(x.prompt, s)
	}
	x.prompt = x.r.texts.recalled(x.prompt, s.Came)
	x.base, x.MessageID, x.shown = n+1, s.Next, ""
	return nil, err
}
