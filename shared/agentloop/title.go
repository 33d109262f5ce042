package agentloop

import (
	"cmp"
	"context"
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
	request := mastra.ModelRequest{Messages: []mastra.PromptMessage{
		{Role: "system", Parts: []mastra.Part{{Type: mastra.PartText, Text: cmp.Or(g.Instructions, titleInstructions)}}},
		{Role: "user", Parts: []mastra.Part{{Type: mastra.PartText, Text: cut(question, 4000)}}}}}
	var said strings.Builder
	for part, err := range model.Stream(ctx, &request) {
		if err != nil {
			return err
		}
		if part.Type == mastra.ModelTextDelta && said.Len() < 4*maxTitle {
			said.WriteString(part.Text)
		}
	}
	title := cleanTitle(said.String())
	if title == "" {
		return nil
	}
	t, err := x.m.Storage.Thread(ctx, x.threadID)
	if err != nil || t.Title != "" {
		return err
	}
	t.Title = title
	return x.m.Storage.Commit(ctx, &mastra.Batch{Threads: []mastra.Thread{*t}})
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
