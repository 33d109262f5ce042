package memory

import (
	"context"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/recall"
)

// ForgetInput names a resource, and where a call before this one has stopped.
type ForgetInput struct {
	ResourceID string `path:"resourceId" json:"-"`
	Before     int64  `query:"before" json:"-" minimum:"0"` // Unix milliseconds
}

// Forgotten says what was deleted of a resource. Where there was more than a call has time for, Complete is false, and the next
// one goes on with before=Before.
type Forgotten struct {
	Complete bool  `json:"complete"`
	Before   int64 `json:"before,omitzero"`
	Threads  int   `json:"threads"`
	Traces   int   `json:"traces"`
	Scores   int   `json:"scores"`
	Feedback int   `json:"feedback"`
}

// spare is how long before its deadline a call stops.
const spare = 8 * time.Second

// Forget deletes what is remembered and recorded of a resource: its threads with their messages, its working memory, its traces,
// and the scores and feedback about it. Runs of workflows are deleted by their own route.
func Forget(ctx context.Context, m *mastra.Mastra, in ForgetInput) (out Forgotten, err error) {
	if own := mastra.Resource(ctx, in.ResourceID); own != in.ResourceID {
		return out, mastra.Errorf(mastra.CodeForbidden, "Access denied: this is a different resource")
	}
	late := func() bool {
		deadline, ok := ctx.Deadline()
		return ok && time.Until(deadline) < spare
	}
	to := mastra.TimeOf(m.Now().Add(24 * time.Hour)) // clocks differ
	if in.Before > 0 {
		to = mastra.Time(in.Before)
	}
	for {
		p, err := m.Storage.Threads(ctx, mastra.ThreadQuery{ResourceID: in.ResourceID, Paging: mastra.Paging{PerPage: 50}})
		if err != nil {
			return out, err
		}
		deleted := out.Threads
		for _, t := range p.Items {
			if late() {
				out.Before = int64(to)
				return out, nil
			}
			if err := m.Storage.DeleteThread(ctx, t.ID); mastra.CodeOf(err) == mastra.CodeNotFound { // an index still showed it
				continue
			} else if err != nil {
				return out, err
			}
			out.Threads++
			unfindable(ctx, m, recall.ForgetThread(context.WithoutCancel(ctx), m, t.ID))
		}
		if deleted == out.Threads {
			break
		}
	}
	if err := forgetNotes(ctx, m, in.ResourceID); err != nil {
		return out, err
	}
	// From the newest on, in as large ranges of time as the storage looks through.
	for width := to + 1; to >= 0; width = min(2*width, to+1) {
		from := to - width + 1
		for {
			err := out.within(ctx, m, in.ResourceID, from, to)
			if err == nil {
				break
			}
			if mastra.CodeOf(err) != mastra.CodeInvalid || width == 1 {
				return out, err
			}
			width = (width + 3) / 4
			from = to - width + 1
		}
		to = from - 1
		if to >= 0 && late() {
			out.Before = int64(to)
			return out, nil
		}
	}
	out.Complete = true
	return out, nil
}

func forgetNotes(ctx context.Context, m *mastra.Mastra, resource string) error {
	n, err := m.Storage.WorkingMemory(ctx, mastra.NotesOf{ResourceID: resource})
	if err != nil || n.Data == "" {
		return err
	}
	n.Data = ""
	return m.Storage.SaveWorkingMemory(ctx, *n)
}

// within deletes what was recorded in a range of time.
func (f *Forgotten) within(ctx context.Context, m *mastra.Mastra, resource string, from, to mastra.Time) error {
	all := mastra.Paging{PerPage: 100_000}
	traces, err := m.Storage.Traces(ctx, mastra.TraceQuery{ResourceID: resource, From: from, To: to, Paging: all})
	if err != nil {
		return err
	}
	its := func(s mastra.Signal) bool { id, _ := s.Field("resourceId"); return id == resource }
	scores, err := m.Storage.Scores(ctx, mastra.ScoreQuery{From: from, To: to, Match: its, Paging: all})
	if err != nil {
		return err
	}
	feedback, err := m.Storage.Feedback(ctx, mastra.ScoreQuery{From: from, To: to, Match: its, Paging: all})
	if err != nil {
		return err
	}
	var ids [3][]string
	for i := range traces.Items {
		ids[0] = append(ids[0], traces.Items[i].TraceID)
	}
	for i := range scores.Items {
		ids[1] = append(ids[1], scores.Items[i].ID)
	}
	for i := range feedback.Items {
		ids[2] = append(ids[2], feedback.Items[i].ID)
	}
	for i, of := range [...]struct {
		remove func(context.Context, []string) error
		count  *int
	}{{m.Storage.DeleteTraces, &f.Traces}, {m.Storage.DeleteScores, &f.Scores}, {m.Storage.DeleteFeedback, &f.Feedback}} {
		if len(ids[i]) == 0 {
			continue
		}
		if err := of.remove(ctx, ids[i]); err != nil {
			return err
		}
		*of.count += len(ids[i])
	}
	return nil
}
