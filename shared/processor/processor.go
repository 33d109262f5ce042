// Package processor has processors for agents: limits of what goes in, and guards of what goes in and comes out.
package processor

import (
	"context"
	"iter"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"mastralambda/shared/mastra"
)

// TokenLimit keeps the whole prompt under about so many tokens (four bytes make one): the oldest turns of the conversation are
// left out of a call of the model. The system messages and all from the user's last message on stay; where those alone are
// too long it stops the run. Files count by their names.
func TokenLimit(tokens int) *mastra.Processor {
	return &mastra.Processor{ID: "token-limit", Name: "Token limit", Description: "Leaves the oldest turns out of a prompt that is too long",
		InputStep: func(_ context.Context, r *mastra.ModelRequest) error {
			last := len(r.Messages) // where the turn that must stay begins
			for i, m := range r.Messages {
				if m.Role == "user" {
					last = i
				}
			}
			total := 0
			for i := range r.Messages {
				if m := &r.Messages[i]; m.Role == "system" || i >= last {
					total += estimated(m)
				}
			}
			if total > tokens {
				return mastra.Abort("The prompt has about %d tokens, more than %d", total, tokens)
			}
			first, turn := last, 0 // of what is kept: whole turns, so that no result of a tool stands without its call
			for i := last - 1; i >= 0; i-- {
				m := &r.Messages[i]
				if m.Role == "system" {
					continue
				}
				turn += estimated(m)
				if total+turn > tokens {
					break
				}
				if m.Role == "user" {
					first, total, turn = i, total+turn, 0
				}
			}
			kept := r.Messages[:0]
			for i, m := range r.Messages {
				if m.Role == "system" || i >= first {
					kept = append(kept, m)
				}
			}
			r.Messages = kept
			return nil
		}}
}

func estimated(m *mastra.PromptMessage) int {
	bytes := 0
	for i := range m.Parts {
		p := &m.Parts[i]
		bytes += len(p.Text) + len(p.Input) + len(p.Output) + len(p.ToolName) + len(p.Filename)
	}
	return bytes/4 + 4
}

// InputLimit stops runs whose caller sends more than so many bytes of texts and files.
func InputLimit(bytes int) *mastra.Processor {
	return &mastra.Processor{ID: "input-limit", Name: "Input limit", Description: "Stops runs that are sent too much",
		Input: func(_ context.Context, messages mastra.Messages) (mastra.Messages, error) {
			size := 0
			for _, m := range messages {
				for _, p := range m.All() {
					size += len(p.Text) + len(p.Data) + len(p.Image) + len(p.Input) + len(p.Output)
				}
			}
			if size > bytes {
				return nil, mastra.Abort("The message has %d bytes, more than %d", size, bytes)
			}
			return messages, nil
		}}
}

// CleanText brings what callers send into one Unicode form (NFC), without characters that nobody sees but a model: control
// characters, marks that change the direction of text, tags and spaces of no width.
func CleanText() *mastra.Processor {
	return &mastra.Processor{ID: "clean-text", Name: "Clean text", Description: "Normalises text and takes out what nobody sees",
		Input: func(_ context.Context, messages mastra.Messages) (mastra.Messages, error) {
			for _, m := range messages {
				for i, p := range m.All() {
					m.All()[i].Text = norm.NFC.String(strings.Map(visible, p.Text))
				}
			}
			return messages, nil
		}}
}

func visible(r rune) rune {
	switch {
	case r == '\n', r == '\t', r == '\r':
		return r
	case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Bidi_Control, r), r >= 0xE0000 && r <= 0xE007F, r == 0x200B, r == 0x2060, r == 0xFEFF:
		return -1
	}
	return r
}

// Forbid stops runs whose input or answer matches. Of an answer that comes in pieces the last 4 KB are looked at with each.
func Forbid(pattern *regexp.Regexp, reason string) *mastra.Processor {
	const window = 4 << 10
	return &mastra.Processor{ID: "forbid", Name: "Forbid", Description: "Stops runs that say what they must not",
		Input: func(_ context.Context, messages mastra.Messages) (mastra.Messages, error) {
			if slices.ContainsFunc(messages, func(m mastra.InputMessage) bool {
				return slices.ContainsFunc(m.All(), func(p mastra.Part) bool { return pattern.MatchString(p.Text) })
			}) {
				return nil, mastra.Abort("%s", reason)
			}
			return messages, nil
		},
		OutputStream: func(_ context.Context, parts iter.Seq2[mastra.ModelPart, error]) iter.Seq2[mastra.ModelPart, error] {
			return func(yield func(mastra.ModelPart, error) bool) {
				var said []byte
				for p, err := range parts {
					if p.Type == mastra.ModelTextStart {
						said = said[:0]
					}
					if p.Type == mastra.ModelTextDelta {
						said = append(said[max(0, len(said)-window):], p.Text...)
						if pattern.Match(said) {
							yield(mastra.ModelPart{}, mastra.Abort("%s", reason))
							return
						}
					}
					if !yield(p, err) {
						return
					}
				}
			}
		}}
}
