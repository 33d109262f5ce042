package agentloop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/recall"
	"mastralambda/shared/runlog"
)

// beyond is what a run remembers beside the last messages of its thread. Runs of agents that ask for none of it have none.
type beyond struct {
	notes   *mastra.Notes    // the working memory
	here    []mastra.Message // found by their meaning in this thread, with those around them
	there   []mastra.Message // the same of other threads
	vectors recall.Vectors   // of what was searched with: it is indexed later
}

const memoryTimeout = 60 * time.Second // of what comes after the answer

// memory is the agent's, or the call's instead. A call that was stored has lost its schema, which is the agent's at any rate.
func (x *run) memory() *mastra.Memory {
	own, call := x.agent.Memory, x.call.Memory
	if own == nil || call == nil {
		return own
	}
	if w := own.WorkingMemory; w != nil && w.Schema != nil && call.WorkingMemory != nil && call.WorkingMemory.Schema == nil {
		call.WorkingMemory = w
	}
	return call
}

// lookBeyond begins to read what the run remembers beside the last messages. The function it returns waits for it.
func (x *run) lookBeyond() (wait func() error) {
	x.beyond = nil
	memory := x.memory()
	if memory.WorkingMemory == nil && memory.SemanticRecall == nil {
		return func() error { return nil }
	}
	x.beyond = &beyond{}
	b := x.beyond
	var all sync.WaitGroup
	var errNotes, errFound error
	if w := memory.WorkingMemory; w != nil {
		all.Go(func() {
			errNotes = runlog.Safely(func() (err error) {
				b.notes, err = x.m.Storage.WorkingMemory(x.ctx, w.Of(x.threadID, x.resourceID))
				return err
			})
		})
	}
	if s := memory.SemanticRecall; s != nil {
		if err := recall.Check(x.m); err != nil {
			return func() error { all.Wait(); return err }
		}
		all.Go(func() { errFound = runlog.Safely(func() error { return x.find(*s) }) })
	}
	return func() error {
		all.Wait()
		if errNotes != nil {
			return fmt.Errorf("working memory: %w", errNotes)
		}
		if errFound != nil {
			if err := x.ctx.Err(); err != nil {
				return err
			}
			if mastra.CodeOf(errFound) == mastra.CodeInvalid { // the call's filter
				return errFound
			}
			// The conversation goes on without it: an embedding model that is away must not silence the agent.
			x.m.Logger.WarnContext(x.ctx, "semantic recall failed", "runId", x.RunID, "agent", x.agent.ID, "error", errFound)
		}
		return nil
	}
}

// find looks for messages that mean something like the user's last one.
func (x *run) find(s mastra.SemanticRecall) error {
	query := ""
	for _, m := range slices.Backward(x.call.Messages) {
		if m.Role == "user" {
			query = mastra.PromptMessage{Parts: m.All()}.Text()
			break
		}
	}
	b := x.beyond
	b.vectors = recall.Vectors{}
	ctx := x.ctx
	if !x.rec.made && x.Resumed == 0 && x.m.Traces(x.TraceID) { // the first of its parts shows what it remembers
		ctx = mastra.WithSpan(ctx, x.at(mastra.SpanIDFrom(x.SpanID, "recall")))
	}
	hits, err := recall.Find(ctx, x.m, recall.Query{Text: query, ThreadID: x.threadID, ResourceID: x.resourceID, SemanticRecall: s}, b.vectors)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, hit := range hits {
		for _, m := range slices.Concat(hit.Before, []mastra.Message{hit.Message}, hit.After) {
			switch {
			case seen[m.ID]:
			case m.ThreadID == x.threadID:
				b.here = append(b.here, m)
			default:
				b.there = append(b.there, m)
			}
			seen[m.ID] = true
		}
	}
	byTime := func(a, b mastra.Message) int { return int(a.CreatedAt - b.CreatedAt) }
	slices.SortStableFunc(b.here, byTime)
	slices.SortStableFunc(b.there, byTime)
	return nil
}

// putTogether puts what was found in the thread before what is remembered of it, and leaves out the oldest of it where it
// is too much.
func (x *run) putTogether() {
	if x.beyond != nil && len(x.beyond.here) > 0 {
		known := map[string]bool{x.MessageID: true}
		for _, m := range x.remembered {
			known[m.ID] = true
		}
		for _, s := range x.Inputs {
			known[s.ID] = true
		}
		earlier := slices.DeleteFunc(x.beyond.here, func(m mastra.Message) bool { return known[m.ID] })
		x.remembered = append(earlier, x.remembered...)
		slices.SortStableFunc(x.remembered, func(a, b mastra.Message) int { return int(a.CreatedAt - b.CreatedAt) })
	}
	if !x.remembers() {
		return
	}
	if most := x.memory().MaxTokens; most > 0 && x.observed == nil {
		tokens, first := 0, len(x.remembered)
		for ; first > 0; first-- {
			if tokens += estimated(&x.remembered[first-1]); tokens > most {
				break
			}
		}
		x.remembered = x.remembered[first:]
	}
}

// estimated is about how many tokens a message has: four bytes make one in most languages and models.
func estimated(m *mastra.Message) int { return line(recall.Text(m)).tokens() }

// appendBeyond appends the system messages of what is remembered beside the conversation.
func (x *run) appendBeyond(prompt []mastra.PromptMessage) []mastra.PromptMessage {
	prompt = x.appendObserved(prompt)
	b := x.beyond
	if b == nil {
		return prompt
	}
	system := func(text string) {
		prompt = append(prompt, mastra.PromptText("system", text))
	}
	if b.notes != nil {
		system(notesPrompt(x.memory().WorkingMemory, b.notes.Data, x.writesNotes()))
	}
	if len(b.there) > 0 {
		system(elsewhere(b.there))
	}
	return prompt
}

// elsewhere tells of messages of other conversations: when, who, what.
func elsewhere(messages []mastra.Message) string {
	var out strings.Builder
	out.WriteString("From earlier conversations with the same user; what they say may be out of date:\n<" + elsewhereTag + ">\n")
	for i := range messages {
		if text := recall.Text(&messages[i]); text != "" {
			fmt.Fprintf(&out, "[%s] %s: %s\n", messages[i].CreatedAt.Time().UTC().Format("2006-01-02 15:04"), messages[i].Role, within(elsewhereTag, text))
		}
	}
	out.WriteString("</" + elsewhereTag + ">")
	return out.String()
}

const elsewhereTag, notesTag = "remembered_from_other_conversations", "working_memory_data"

// within keeps what stands between two tags from ending there.
func within(tag, text string) string { return strings.ReplaceAll(text, "</"+tag, "< /"+tag) }

// afterwards does what may come after the answer, and belongs to the run all the same: it makes the messages findable and
// gives the thread a title. The process does not count as idle before it is done.
func (x *run) afterwards(failed error) {
	if !x.stores() || x.closed || x.blocked() {
		return
	}
	memory := x.memory()
	titled := memory.GenerateTitle != nil && failed == nil && x.call.ThreadTitle == "" && (x.thread == nil || x.thread.Title == "")
	observes := failed == nil && x.toObserve()
	if memory.SemanticRecall == nil && !titled && !observes {
		return
	}
	messages := slices.Clone(x.in.stored)
	if x.answer.ID != "" {
		messages = append(messages, x.answer)
	}
	task, err := x.r.runs.Begin(context.WithoutCancel(x.ctx), "memory of "+x.RunID)
	if err != nil {
		return
	}
	about := x.call.ThreadMetadata
	if len(about) == 0 && x.thread != nil {
		about = x.thread.Metadata
	}
	var vectors recall.Vectors
	if x.beyond != nil {
		vectors = x.beyond.vectors
	}
	task.Go(func(ctx context.Context) error {
		timeout := memoryTimeout
		if observes {
			timeout = observeTimeout
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		var errIndex, errTitle, errObserved error
		if memory.SemanticRecall != nil {
			errIndex = recall.Index(ctx, x.m, messages, vectors, recall.About{x.threadID: about})
		}
		if titled {
			errTitle = x.giveTitle(ctx, memory.GenerateTitle)
		}
		if observes {
			errObserved = x.observe(ctx, memory.Observational)
		}
		return errors.Join(errIndex, errTitle, errObserved)
	}, func(err error) {
		if err != nil {
			x.m.Logger.WarnContext(x.ctx, "a thread's messages were not indexed or observed, or it got no title", "runId", x.RunID, "threadId", x.threadID, "error", err)
		}
	})
}
