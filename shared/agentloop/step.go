package agentloop

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/mastra"
)

// writing is a block that the model has begun and not ended.
type writing struct {
	piece int // its place in the step
	id    string
	text  []byte
}

// maxPieces is how many texts and calls one answer of a model may have: more is a fault of the model's.
const maxPieces = 1000

// step asks the model once and runs the tools that it calls. mayGoOn says that another step may follow.
func (x *run) step(n int, mayGoOn bool) error {
	if x.call.Network {
		return x.route(n, mayGoOn)
	}
	s := &x.Steps[n]
	span := x.begin(n, s.StartedAt)
	if x.log != nil {
		x.emit(mastra.ChunkStepStart, mastra.StepStart{MessageID: x.messageID(), StartedAt: s.StartedAt})
	}
	asked := len(x.prompt)
	err := x.ask(s)
	x.inferenceTraced(n, span, err)
	if err == nil {
		err = x.processStep(n, mayGoOn)
	}
	return x.finishStep(n, span, span, asked, mayGoOn, err)
}

// goOn goes on with a step whose calls were answered.
func (x *run) goOn(n int, mayGoOn bool) error {
	span := x.begin(n, x.ms())
	return x.finishStep(n, span, x.trace.generation, len(x.prompt), mayGoOn, nil)
}

// finishStep runs the tools that the model called, with their spans below tools, unless err says that it failed.
func (x *run) finishStep(n int, span, tools span, asked int, mayGoOn bool, err error) error {
	s := &x.Steps[n]
	if err == nil && x.structured != nil && !s.calledAny() && s.Refused == nil {
		err = x.finishObject(s)
	}
	if err == nil && s.calledAny() {
		err = x.runTools(n, tools)
		if err == nil {
			err = x.ctx.Err()
		}
		if err == nil && len(x.waiting()) > 0 {
			x.stepTraced(n, span, x.prompt[:asked], mayGoOn, nil)
			return errSuspended
		}
	}
	x.stepTraced(n, span, x.prompt[:asked], mayGoOn, err)
	if err != nil {
		return err
	}
	if s.continued() && mayGoOn {
		x.prompt = appendStep(x.prompt, s)
	}
	if x.log != nil {
		x.emitStepFinish(n, mayGoOn)
	}
	return nil
}

// ask calls the model and keeps what it writes, also where it fails in the middle.
func (x *run) ask(s *step) error {
	var open []writing
	var inputs []mastra.ToolInput
	finished, written := false, 0
	end := func(i int) {
		s.Pieces[open[i].piece].Text = string(open[i].text)
		open = append(open[:i], open[i+1:]...)
	}
	defer func() {
		for len(open) > 0 {
			end(len(open) - 1)
		}
		whole := s.Pieces[:0]
		for _, p := range s.Pieces {
			if p.Kind == called || p.Text != "" || p.Meta != nil {
				whole = append(whole, p)
			}
		}
		s.Pieces = whole
		if s.ResponseID == "" {
			s.ResponseID, s.Timestamp = mastra.NewID(), x.now()
		}
		if s.ModelID == "" {
			s.ModelID = x.info.ID
		}
	}()
	var partial partialJSON
	request := mastra.ModelRequest{Messages: x.prompt, Tools: x.tools, ToolChoice: x.call.ToolChoice, Settings: x.call.Settings, Options: x.call.ModelOptions}
	if x.structured.answered() && !x.structured.InPrompt {
		request.Schema = x.structured.Schema
	}
	if n := len(x.Steps) - 2; n >= 0 && x.Steps[n].Refused != nil {
		request.Messages = x.Steps[n].Refused.told(request.Messages)
	}
	parts, err := x.processed(&request)
	if err != nil {
		return err
	}
	for part, err := range parts {
		if err != nil {
			return err
		}
		switch part.Type {
		case mastra.ModelMetadata:
			s.ResponseID, s.Timestamp, s.ModelID = part.ID, part.Timestamp, part.ModelID
			if part.Model.ID != "" {
				x.info = part.Model
			}
		case mastra.ModelTextStart, mastra.ModelReasoningStart:
			kind, chunk := text, mastra.ChunkTextStart
			if part.Type == mastra.ModelReasoningStart {
				kind, chunk = reasoning, mastra.ChunkReasoningStart
			}
			if len(s.Pieces) >= maxPieces {
				return mastra.Errorf(mastra.CodeUpstream, "The model's answer is too long")
			}
			open = append(open, writing{piece: len(s.Pieces), id: part.ID})
			s.Pieces = append(s.Pieces, piece{Kind: kind, ID: part.ID, At: x.ms()})
			if x.log != nil {
				x.emit(chunk, mastra.Block{ID: part.ID})
			}
		case mastra.ModelTextDelta, mastra.ModelReasoningDelta:
			for i := range open {
				if w := &open[i]; w.id == part.ID && (s.Pieces[w.piece].Kind == reasoning) == (part.Type == mastra.ModelReasoningDelta) {
					w.text = append(w.text, part.Text...)
					break
				}
			}
			if written += len(part.Text); written > mastra.MaxWritten {
				return mastra.Errorf(mastra.CodeUpstream, "The model's answer is too long")
			}
			if x.log != nil {
				if x.structured.answered() && part.Type == mastra.ModelTextDelta {
					if object := partial.add(part.Text); object != nil {
						x.emitObject(mastra.ChunkObject, object)
					}
				}
				x.emitDelta(part)
			}
		case mastra.ModelTextEnd, mastra.ModelReasoningEnd:
			for i := range open {
				if (s.Pieces[open[i].piece].Kind == reasoning) == (part.Type == mastra.ModelReasoningEnd) && open[i].id == part.ID {
					s.Pieces[open[i].piece].Meta = part.Metadata
					end(i)
					break
				}
			}
			if x.log != nil {
				x.emitBlockEnd(part.Type == mastra.ModelReasoningEnd, part.ID)
			}
		case mastra.ModelToolInputStart:
			inputs = append(inputs, mastra.ToolInput{ToolCallID: part.ID, ToolName: part.ToolName})
			if x.log != nil {
				x.emit(mastra.ChunkToolInputStart, inputs[len(inputs)-1])
			}
		case mastra.ModelToolInputDelta:
			if written += len(part.Text); written > mastra.MaxWritten {
				return mastra.Errorf(mastra.CodeUpstream, "The model's answer is too long")
			}
			if x.log != nil {
				name := ""
				for _, in := range inputs {
					if in.ToolCallID == part.ID {
						name = in.ToolName
					}
				}
				x.emit(mastra.ChunkToolInputDelta, mastra.ToolInputDelta{ArgsTextDelta: part.Text, ToolCallID: part.ID, ToolName: name})
			}
		case mastra.ModelToolInputEnd:
			if x.log != nil {
				x.emit(mastra.ChunkToolInputEnd, mastra.ToolInput{ToolCallID: part.ID})
			}
		case mastra.ModelToolCall:
			if written += len(part.Input); written > mastra.MaxWritten || len(s.Pieces) >= maxPieces {
				return mastra.Errorf(mastra.CodeUpstream, "The model's answer is too long")
			}
			c := &call{ID: part.ID, Name: part.ToolName, Args: arguments(part.Input)}
			if c.ID == "" {
				c.ID = "call_" + mastra.NewSpanID()
			}
			if t := x.tool(c.Name); t != nil && t.OfClient() && c.Args != nil {
				c.Client = mastra.NewSpanID()
			}
			s.Pieces = append(s.Pieces, piece{Kind: called, At: x.ms(), Call: c})
			if x.log != nil {
				x.emitCall(c)
			}
		case mastra.ModelFinish:
			s.Finish, s.Usage, s.Cost, finished = part.Finish, part.Usage, part.Cost, true
		}
	}
	if err := x.ctx.Err(); err != nil && !finished {
		return err
	}
	if !finished {
		return mastra.Errorf(mastra.CodeUpstream, "The model's answer was cut off")
	}
	return nil
}

// arguments are a call's arguments in one line, nil where they are no JSON. None at all are an empty object.
func arguments(written mastra.JSON) mastra.JSON {
	if len(bytes.TrimSpace(written)) == 0 {
		return mastra.JSON("{}")
	}
	args := mastra.JSON(bytes.Clone(written))
	if args.Compact(jsontext.AllowInvalidUTF8(true)) != nil {
		return nil
	}
	return args
}
