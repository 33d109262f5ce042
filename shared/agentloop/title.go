package agentloop

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"unicode"

	"mastralambda/shared/mastra"
)

const (
	titleInstructions = "Give the conversation that begins with the user's message below a title of at most 80 characters, in the user's language. " +
		"It names the matter. Answer with the title alone, without quotes, colons or a full stop."
	maxTitle = 200 // bytes
)

// giveTitle asks a model for a title, and gives it to the thread if it still has none.
func (x *run) giveTitle(ctx context.Context, g *mastra.GenerateTitle) error {
	model := x.model
	if g.Model != "" {
		var err error
		if model, err = x.m.Models(g.Model); err != nil {
			return err
		}
	}
	var asked []string
	for i := range x.in.prompt {
		if m := &x.in.prompt[i]; m.Role == "user" {
			asked = append(asked, m.Text())
		}
	}
	question := strings.ToValidUTF8(strings.Join(asked, "\n"), "")
	if question == "" {
		return nil
	}
	alone := *x.agent
	alone.Processors = nil
	y, failed := x.askAside(ctx, model, &alone, cmp.Or(g.Instructions, titleInstructions), cut(question, 4000))
	title := cleanTitle(cut(y.text(), 4*maxTitle))
	err := x.keepAside(ctx, y.calls(x.SpanID, failed), func(t *mastra.Thread, b *mastra.Batch) {
		if t.Title == "" && title != "" && failed == nil {
			t.Title = title
			b.Threads = []mastra.Thread{*t}
		}
	})
	return errors.Join(failed, err)
}

// cleanTitle is one line of printable text without quotes around it.
func cleanTitle(said string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(said), "\n")
	line = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, line)
	return strings.TrimSpace(cut(strings.Trim(strings.TrimSpace(line), "\"'`*#“”„"), maxTitle))
}

// cut keeps the first n bytes, of whole runes.
func cut(s string, n int) string {
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}
