// Package offline is the model "offline/demo": a deterministic program that takes the place of a language model where
// there is no key and no network. It calls tools, answers from what it is given and tells a story, so that an application
// can be tried and tested whole. It understands nothing.
package offline

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Demo is the model. It is safe for concurrent use.
type Demo struct{ delay time.Duration }

// New makes the model; it waits for delay before each part of an answer.
func New(delay time.Duration) *Demo { return &Demo{delay} }

// Info names the model.
func (d *Demo) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "offline", ID: "demo", Version: "v2"}
}

// Stream answers at once, or word by word with the delay.
func (d *Demo) Stream(ctx context.Context, r *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		send := func(p mastra.ModelPart) bool {
			if d.delay > 0 {
				select {
				case <-time.After(d.delay):
				case <-ctx.Done():
				}
			}
			if err := ctx.Err(); err != nil {
				yield(mastra.ModelPart{}, err)
				return false
			}
			return yield(p, nil)
		}
		a := decide(r)
		if !send(mastra.ModelPart{Type: mastra.ModelMetadata, ID: mastra.NewID(), ModelID: "demo", Timestamp: mastra.TimeOf(time.Now())}) {
			return
		}
		finish := mastra.FinishStop
		if a.tool != nil {
			finish = mastra.FinishToolCalls
			if !sendCall(send, a) {
				return
			}
		} else if !sendText(send, a.text) {
			return
		}
		send(mastra.ModelPart{Type: mastra.ModelFinish, Finish: finish, Usage: usage(r, a)})
	}
}

func sendCall(send func(mastra.ModelPart) bool, a answer) bool {
	id := mastra.NewID()
	for _, p := range []mastra.ModelPart{
		{Type: mastra.ModelToolInputStart, ID: id, ToolName: a.tool.Name()},
		{Type: mastra.ModelToolInputDelta, ID: id, Text: string(a.input)},
		{Type: mastra.ModelToolInputEnd, ID: id},
		{Type: mastra.ModelToolCall, ID: id, ToolName: a.tool.Name(), Input: a.input},
	} {
		if !send(p) {
			return false
		}
	}
	return true
}

func sendText(send func(mastra.ModelPart) bool, text string) bool {
	const id = "txt-0"
	if !send(mastra.ModelPart{Type: mastra.ModelTextStart, ID: id}) {
		return false
	}
	for word := range strings.SplitAfterSeq(text, " ") {
		if word != "" && !send(mastra.ModelPart{Type: mastra.ModelTextDelta, ID: id, Text: word}) {
			return false
		}
	}
	return send(mastra.ModelPart{Type: mastra.ModelTextEnd, ID: id})
}

// usage counts words: there are no tokens here.
func usage(r *mastra.ModelRequest, a answer) mastra.Usage {
	in, out := 0, words(a.text)+words(string(a.input))
	for _, m := range r.Messages {
		for _, p := range m.Parts {
			in += words(p.Text)
		}
	}
	return mastra.Usage{InputTokens: in, OutputTokens: out, TotalTokens: in + out}
}

func words(text string) (n int) {
	for range strings.FieldsSeq(text) {
		n++
	}
	return n
}

// answer is a text, or a call of a tool.
type answer struct {
	text  string
	tool  *mastra.Tool
	input mastra.JSON
}

// decide is the whole of the model: the first rule that fits answers.
func decide(r *mastra.ModelRequest) answer {
	question, results := lastTurn(r.Messages)
	if r.Schema != nil {
		return answer{text: string(smallest(r.Schema))}
	}
	if len(results) > 0 {
		return answer{text: fromResults(results)}
	}
	lower := strings.ToLower(question)
	if r.ToolChoice.Mode != "none" {
		if expression := findExpression(question); expression != "" {
			if t := offered(r.Tools, "calculator", "calculate"); t != nil {
				return answer{tool: t, input: argument(t, expression)}
			}
		}
		if t := offered(r.Tools, "search", "retrieve", "knowledge", "docs"); t != nil && question != "" {
			return answer{tool: t, input: argument(t, question)}
		}
	}
	switch {
	case strings.Contains(lower, "story"):
		return answer{text: story}
	case strings.Contains(lower, "did i say") || strings.Contains(lower, "did i tell") || strings.Contains(lower, "my name") && strings.Contains(lower, "what"):
		return answer{text: fromConversation(r.Messages)}
	}
	return answer{text: fmt.Sprintf("You said: %q. I am offline/demo, a program without a language model: I calculate, search, remember what you said and tell a story. MODEL=openai/… puts a real model in my place.", cut(question, 200))}
}

// lastTurn is the text of the last user message and the tool results after it.
func lastTurn(messages []mastra.PromptMessage) (question string, results []mastra.Part) {
	for i := len(messages) - 1; i >= 0; i-- {
		m := messages[i]
		if m.Role == "user" {
			return m.Text(), results
		}
		var here []mastra.Part
		for _, p := range m.Parts {
			if p.Type == mastra.PartToolResult {
				here = append(here, p)
			}
		}
		results = append(here, results...)
	}
	return "", results
}

// fromResults reads the last result: a number, passages, or whatever it is.
func fromResults(results []mastra.Part) string {
	p := results[len(results)-1]
	var output struct {
		Type  string      `json:"type"`
		Value mastra.JSON `json:"value"`
	}
	value := p.Output
	if schema.Unmarshal(p.Output, &output) == nil && output.Value != nil {
		value = output.Value
	}
	var known struct {
		Result   *float64 `json:"result"`
		Passages []struct {
			Text string `json:"text"`
		} `json:"passages"`
	}
	if schema.Unmarshal(value, &known) == nil {
		switch {
		case known.Result != nil:
			return fmt.Sprintf("The result is %v.", *known.Result)
		case len(known.Passages) > 0:
			return "The documents say: " + known.Passages[0].Text
		}
	}
	var text string
	if schema.Unmarshal(value, &text) != nil {
		text = string(value)
	}
	if strings.HasPrefix(output.Type, "error") {
		return fmt.Sprintf("The tool %s failed: %s", p.ToolName, cut(text, 1000))
	}
	return fmt.Sprintf("The tool %s answered: %s", p.ToolName, cut(text, 1000))
}

func fromConversation(messages []mastra.PromptMessage) string {
	var said []string
	for _, m := range messages[:max(0, len(messages)-1)] {
		if text := m.Text(); m.Role == "user" && text != "" {
			said = append(said, fmt.Sprintf("%q", cut(text, 200)))
		}
	}
	if said == nil {
		return "You said nothing before, as far as this conversation goes."
	}
	return "You said " + strings.Join(said, ", then ") + "."
}

// offered is the first tool whose id or name holds one of the words, and that takes one text.
func offered(tools []*mastra.Tool, words ...string) *mastra.Tool {
	for _, t := range tools {
		for _, w := range words {
			if strings.Contains(strings.ToLower(t.ID+" "+t.Name()), w) && argument(t, "") != nil {
				return t
			}
		}
	}
	return nil
}

// argument is an input whose one required property is the text; nil where the tool takes something else.
func argument(t *mastra.Tool, text string) mastra.JSON {
	var doc struct {
		Required   []string `json:"required"`
		Properties map[string]struct {
			Type string `json:"type"`
		} `json:"properties"`
	}
	if schema.Unmarshal(t.Input.JSON(), &doc) != nil || len(doc.Required) != 1 || doc.Properties[doc.Required[0]].Type != "string" {
		return nil
	}
	input, err := schema.Marshal(map[string]string{doc.Required[0]: text})
	if err != nil {
		return nil
	}
	return input
}

// cut keeps the first n bytes of whole runes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

const story = "Once upon a time there was a small server that lived in a big cloud. It slept most of the day, for nobody paid it to be awake. " +
	"One morning a question knocked at its door. The server woke before the kettle had boiled, called its oldest friend, the calculator, " +
	"wrote the answer down twice so that it would not be lost, and sent it home word by word. Then the lights went out in the whole house. " +
	"But when they came back, the answer was still there, and the server went to sleep again, content, and a little proud."
