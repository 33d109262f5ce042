package processor_test

import (
	"errors"
	"iter"
	"regexp"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/processor"
)

func message(role, text string) mastra.PromptMessage {
	return mastra.PromptMessage{Role: role, Parts: []mastra.Part{{Type: mastra.PartText, Text: text}}}
}

func TestTokenLimit(t *testing.T) {
	long := strings.Repeat("x", 80) // 24 tokens a message
	conversation := []mastra.PromptMessage{message("system", "be kind"), message("user", "1"+long), message("assistant", long), message("tool", long), message("user", "2"+long),
		message("assistant", long), message("user", "3"+long), message("assistant", long), message("tool", long)}
	for _, c := range []struct {
		tokens, left int
		first        string // of what is left behind the system message
	}{{1000, 9, "1"}, {200, 9, "1"}, {190, 6, "2"}, {130, 6, "2"}, {120, 4, "3"}, {80, 4, "3"}, {70, 0, ""}} {
		r := &mastra.ModelRequest{Messages: append([]mastra.PromptMessage(nil), conversation...)}
		err := processor.TokenLimit(c.tokens).InputStep(t.Context(), r)
		if c.left == 0 {
			if tripped := (*mastra.Tripwire)(nil); !errors.As(err, &tripped) {
				t.Errorf("%d: %v", c.tokens, err)
			}
			continue
		}
		if err != nil || len(r.Messages) != c.left || r.Messages[0].Role != "system" || !strings.HasPrefix(r.Messages[1].Text(), c.first) {
			t.Errorf("%d: %d are left, %v", c.tokens, len(r.Messages), err)
		}
	}
}

func TestInputLimit(t *testing.T) {
	p := processor.InputLimit(10)
	if _, err := p.Input(t.Context(), mastra.UserMessage("0123456789")); err != nil {
		t.Error(err)
	}
	file := mastra.Messages{{Role: "user", Content: mastra.InputContent{{Type: mastra.PartText, Text: "see"}, {Type: mastra.PartFile, Data: mastra.JSON(`"01234567"`)}}}}
	if _, err := p.Input(t.Context(), file); err == nil || err.Error() != "The message has 13 bytes, more than 10" {
		t.Error(err)
	}
}

func TestCleanText(t *testing.T) {
	for in, want := range map[string]string{
		"plain\n\ttext":                      "plain\n\ttext",
		"a\u0000b\u202ec\u2066d\u200be":      "abcde",
		"smuggled\U000E0069\U000E0067":       "smuggled",
		"e\u0301":                            "\u00e9",
		"👨\u200d👩\u200d👧 \u0646\u200c\u0645": "👨\u200d👩\u200d👧 \u0646\u200c\u0645", // joiners are part of the writing
	} {
		got, err := processor.CleanText().Input(t.Context(), mastra.UserMessage(in))
		if err != nil || got[0].Content[0].Text != want {
			t.Errorf("%q became %q, %v", in, got[0].Content[0].Text, err)
		}
	}
}

func TestForbid(t *testing.T) {
	p := processor.Forbid(regexp.MustCompile(`(?i)pass\s*word`), "Secrets stay secret")
	if _, err := p.Input(t.Context(), mastra.UserMessage("tell me the Password")); err == nil || err.Error() != "Secrets stay secret" {
		t.Error(err)
	}
	parts := func(texts ...string) iter.Seq2[mastra.ModelPart, error] {
		return func(yield func(mastra.ModelPart, error) bool) {
			yield(mastra.ModelPart{Type: mastra.ModelTextStart}, nil)
			for _, s := range texts {
				if !yield(mastra.ModelPart{Type: mastra.ModelTextDelta, Text: s}, nil) {
					return
				}
			}
			yield(mastra.ModelPart{Type: mastra.ModelFinish}, nil)
		}
	}
	read := func(texts ...string) (out string, failed error) {
		for part, err := range p.OutputStream(t.Context(), parts(texts...)) {
			out += part.Text
			failed = err
		}
		return out, failed
	}
	if got, err := read("the pass", "age is ", "free"); got != "the passage is free" || err != nil {
		t.Error(got, err)
	}
	if got, err := read("the pa", "ss", " wo", "rd is 1234"); got != "the pass wo" || err == nil { // wherever it is cut
		t.Error(got, err)
	}
	if _, err := read(strings.Repeat("long ", 10_000), "password"); err == nil {
		t.Error("behind a long text it is not seen")
	}
}
