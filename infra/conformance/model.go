package main

import (
	"context"
	"iter"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"mastralambda/shared/mastra"
)

// provider makes the mock models. They share one counter of calls, which shows in call_N and resp_N.
type provider struct {
	delay time.Duration // between the parts of a stream
	calls atomic.Int64
}

func (p *provider) model(id string) (mastra.LanguageModel, error) {
	name, ok := strings.CutPrefix(id, "mock/")
	if !ok {
		return nil, mastra.Errorf(mastra.CodeInvalid, "Model %q is not known: the twin has mock models only", id)
	}
	return mockModel{p, name}, nil
}

type mockModel struct {
	provider *provider
	id       string
}

func (m mockModel) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "mock", ID: m.id, Version: "v2"}
}

var usage = mastra.Usage{InputTokens: 10, OutputTokens: 5, TotalTokens: 15}

func (m mockModel) Stream(ctx context.Context, r *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		said, err := decide(r)
		if err != nil {
			yield(mastra.ModelPart{}, err)
			return
		}
		delay := m.provider.delay
		if containsFold(said.asked, "slow") {
			delay = 200 * time.Millisecond
		}
		parts := said.parts(strconv.FormatInt(m.provider.calls.Add(1), 10), m.id)
		for _, part := range parts {
			if ctx.Err() != nil {
				yield(mastra.ModelPart{}, context.Cause(ctx))
				return
			}
			if !yield(part, nil) {
				return
			}
			wait(ctx, delay)
		}
	}
}

// wait sleeps, or less where ctx ends.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// parts is the decision as a stream; n numbers the call.
func (d decision) parts(n, modelID string) []mastra.ModelPart {
	parts := []mastra.ModelPart{{Type: mastra.ModelMetadata, ID: "resp_" + n, ModelID: modelID, Timestamp: epoch}}
	if d.tool == "" {
		parts = append(parts, mastra.ModelPart{Type: mastra.ModelTextStart, ID: "txt-0"})
		for word := range words(d.text) {
			parts = append(parts, mastra.ModelPart{Type: mastra.ModelTextDelta, ID: "txt-0", Text: word})
		}
		return append(parts, mastra.ModelPart{Type: mastra.ModelTextEnd, ID: "txt-0"},
			mastra.ModelPart{Type: mastra.ModelFinish, Finish: mastra.FinishStop, Usage: usage})
	}
	id, input := "call_"+n, string(d.input)
	half := halfOf(input)
	return append(parts,
		mastra.ModelPart{Type: mastra.ModelToolInputStart, ID: id, ToolName: d.tool},
		mastra.ModelPart{Type: mastra.ModelToolInputDelta, ID: id, ToolName: d.tool, Text: input[:half]},
		mastra.ModelPart{Type: mastra.ModelToolInputDelta, ID: id, ToolName: d.tool, Text: input[half:]},
		mastra.ModelPart{Type: mastra.ModelToolInputEnd, ID: id, ToolName: d.tool},
		mastra.ModelPart{Type: mastra.ModelToolCall, ID: id, ToolName: d.tool, Input: d.input},
		mastra.ModelPart{Type: mastra.ModelFinish, Finish: mastra.FinishToolCalls, Usage: usage})
}

// words yields the matches of JavaScript's /\S+\s*/: blanks stay with the word before them.
func words(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		s = strings.TrimLeftFunc(s, blank)
		if s == "" {
			yield("")
			return
		}
		for s != "" {
			end, blanks := len(s), false
			for i, r := range s {
				if blank(r) {
					blanks = true
				} else if blanks {
					end = i
					break
				}
			}
			if !yield(s[:end]) {
				return
			}
			s = s[end:]
		}
	}
}

// blank is JavaScript's \s.
func blank(r rune) bool { return r == 0xFEFF || r != 0x85 && unicode.IsSpace(r) }

// halfOf is where ceil(length / 2) UTF-16 code units of s end; a pair of surrogates stays whole.
func halfOf(s string) int {
	half, seen := (utf16Len(s)+1)/2, 0
	for i, r := range s {
		if seen >= half {
			return i
		}
		seen += units(r)
	}
	return len(s)
}

func units(r rune) int {
	if r > 0xFFFF {
		return 2
	}
	return 1
}

// utf16Len is the length of s in JavaScript.
func utf16Len(s string) (n int) {
	for _, r := range s {
		n += units(r)
	}
	return n
}
