package agentloop

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// structured is the JSON that a run is to answer.
type structured struct {
	*mastra.Structured
	schema   *schema.Schema
	by       mastra.LanguageModel // makes it out of the answer; nil where the answer is to be it
	object   mastra.JSON
	fellBack bool
}

// prepare makes what the call asks for beside its messages.
func (x *run) prepare() error {
	if s := x.call.Structured; s != nil {
		parsed, err := schema.Parse(s.Schema)
		if err != nil {
			return mastra.Invalid("structuredOutput.schema", "Invalid JSON Schema")
		}
		x.structured = &structured{Structured: s, schema: parsed}
		if s.Model != "" {
			if x.structured.by, err = x.m.Models(s.Model); err != nil {
				return mastra.Invalid("structuredOutput.model", "%s", runError(err).Message)
			}
		} else if x.call.Network { // its model answers with choices
			x.structured.by = x.model
		}
	}
	return x.offerTools()
}

// answered says that the agent's own model is to answer with the JSON.
func (s *structured) answered() bool { return s != nil && s.by == nil }

// instructions are what the model is told in words that is to write the JSON.
func (s *structured) instructions() (lines []string) {
	lines = []string{s.Instructions}
	if s.InPrompt {
		lines = append(lines, "Answer with nothing but JSON that fits this JSON Schema: "+string(s.Schema))
	}
	return lines
}

func (x *run) emitObject(kind string, object mastra.JSON) {
	switch {
	case x.log == nil:
	case x.call.Network:
		x.emitChunk(mastra.Chunk{Type: "network-" + kind, RunID: x.RunID, From: "NETWORK", Payload: networkObject{object}})
	default:
		x.emitChunk(mastra.Chunk{Type: kind, RunID: x.RunID, From: mastra.FromAgent, Object: object})
	}
}

// finishObject reads the answer's JSON. What does not fit is the model's failure, unless the call says otherwise.
func (x *run) finishObject(s *step) error {
	want := x.structured
	text := s.text()
	var err error
	failed := x.unstructured
	if want.by != nil {
		if text, err = x.structure(s, text); err != nil {
			failed = func(_ string, err error) error { return err }
		}
	}
	object := mastra.JSON(bare(text))
	if err == nil {
		err = object.Compact()
	}
	if err == nil {
		var read mastra.JSON
		err = want.schema.Decode(object, &read)
	}
	switch {
	case err == nil:
		want.object = object
	case want.OnError == "warn":
		x.m.Logger.WarnContext(x.ctx, "the model's answer does not fit the schema", "runId", x.RunID, "agent", x.agent.ID, "error", err)
		return nil
	case want.OnError == "fallback":
		want.object, want.fellBack = want.Fallback, true
	default:
		return failed(text, err)
	}
	x.emitObject(mastra.ChunkObjectResult, want.object)
	return nil
}

// unstructured is the failure of an answer that does not fit the schema.
func (x *run) unstructured(answer string, err error) error {
	why := "the model's answer is no JSON"
	var invalid *schema.InvalidError
	if errors.As(err, &invalid) {
		lines := make([]string, len(invalid.Issues))
		for i, issue := range invalid.Issues {
			lines[i] = "- " + issue.Field + ": " + issue.Message
		}
		why = strings.Join(lines, "\n")
	}
	failed := &tracedError{error: err, id: "STRUCTURED_OUTPUT_SCHEMA_VALIDATION_FAILED", category: "SYSTEM"}
	if !x.call.Tracing.HideOutput {
		failed.details = append(appendMember(nil, `{"value":`, answer), '}')
	}
	return &mastra.Error{Code: mastra.CodeUpstream, Message: "Structured output validation failed: " + why, Err: failed}
}

const structuring = "Turn the text that follows into JSON that fits the schema. Take all values from the text; do not answer it."

// structure has another model make JSON out of an answer. What it uses counts with the step.
func (x *run) structure(s *step, answer string) (string, error) {
	want := x.structured
	system := structuring
	for _, line := range want.instructions() {
		if line != "" {
			system += "\n" + line
		}
	}
	request := mastra.ModelRequest{Messages: []mastra.PromptMessage{mastra.PromptText("system", system), mastra.PromptText("user", answer)}}
	if !want.InPrompt {
		request.Schema = want.Schema
	}
	var partial partialJSON
	var used mastra.ModelPart
	began := x.now()
	text, err := mastra.Written(want.by.Stream(x.ctx, &request), mastra.MaxWritten, func(part *mastra.ModelPart) {
		switch part.Type {
		case mastra.ModelTextDelta:
			if x.log != nil {
				if object := partial.add(part.Text); object != nil {
					x.emitObject(mastra.ChunkObject, object)
				}
			}
		case mastra.ModelFinish:
			used = *part
			s.Usage, s.Cost = s.Usage.Plus(part.Usage), s.Cost+part.Cost
		}
	})
	x.structuringTraced(began, text, used)
	return text, err
}

// bare is a text without the fence that models like to put around JSON.
func bare(text string) string {
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "```"); ok {
		_, rest, _ = strings.Cut(rest, "\n")
		text = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "```"))
	}
	return text
}

// partialJSON makes objects of JSON that is still being written.
type partialJSON struct {
	text []byte
	seen int // bytes when an object was made last
	last string
}

// add returns the object so far where it has changed. Of a long text not every piece is looked at, so that all of them
// together cost no more than some times its length.
func (p *partialJSON) add(piece string) mastra.JSON {
	p.text = append(p.text, piece...)
	if n := len(p.text); n-p.seen < n/16 {
		return nil
	}
	p.seen = len(p.text)
	object := closed(p.text)
	if object == nil || string(object) == p.last {
		return nil
	}
	p.last = string(object)
	return object
}

// closed is the beginning of a JSON value, cut behind its last whole part and closed; nil where there is none yet.
func closed(text []byte) mastra.JSON {
	text = []byte(bare(string(text)))
	var open []byte // brackets to be closed
	inText, escaped := false, false
	key := false // a text that is begun would be a key
	cut := 0     // behind the last whole part
	var atCut []byte
	mark := func(i int) { cut, atCut = i, append(atCut[:0], open...) }
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case inText:
			switch {
			case escaped:
				escaped = false
			case c == '\\':
				escaped = true
			case c == '"':
				inText = false
				if !key {
					mark(i + 1)
				}
			}
		case c == '"':
			inText = true
			key = len(open) > 0 && open[len(open)-1] == '}' && expectsKey(text[:i])
		case c == '{' || c == '[':
			open = append(open, c+2) // '}' and ']'
			mark(i + 1)
		case c == '}' || c == ']':
			if len(open) == 0 {
				return nil
			}
			open = open[:len(open)-1]
			mark(i + 1)
		case c == ',':
			mark(i)
		}
	}
	if cut == 0 {
		return nil
	}
	out := append([]byte(nil), text[:cut]...)
	if inText && !key && !escaped { // a text is shown as far as it goes
		if whole := append(append([]byte(nil), text...), '"'); jsontext.Value(closeAll(append([]byte(nil), whole...), open)).IsValid() {
			out, atCut = whole, open
		}
	}
	object := mastra.JSON(closeAll(out, atCut))
	if object.Compact() != nil {
		return nil
	}
	return object
}

// expectsKey says that what follows text, within an object, is a key: the last thing before it is a bracket or a comma.
func expectsKey(text []byte) bool {
	t := strings.TrimRight(string(text[max(0, len(text)-64):]), " \n\r\t")
	return strings.HasSuffix(t, "{") || strings.HasSuffix(t, ",")
}

func closeAll(b, open []byte) []byte {
	for i := len(open) - 1; i >= 0; i-- {
		b = append(b, open[i])
	}
	return b
}
