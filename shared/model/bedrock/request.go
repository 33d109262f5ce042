package bedrock

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	smithydocument "github.com/aws/smithy-go/document"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/upstream"
)

// options are the provider's own settings of a call.
type options struct {
	ReasoningConfig *struct {
		Type         string `json:"type"`
		BudgetTokens int    `json:"budgetTokens"`
	} `json:"reasoningConfig"`
	Additional map[string]mastra.JSON `json:"additionalModelRequestFields"` // of the model's own API
}

const afterThinking = 4096 // tokens for the answer, where the call doesn't say

func (m *Model) request(r *mastra.ModelRequest) (*api.ConverseStreamInput, error) {
	var o options
	if given := r.Options["bedrock"]; given != nil {
		if err := schema.Unmarshal(given, &o); err != nil {
			return nil, mastra.Invalid("providerOptions.bedrock", "%v", err)
		}
	}
	out := &api.ConverseStreamInput{ModelId: aws.String(m.id)}
	inference := types.InferenceConfiguration{StopSequences: r.Settings.StopSequences, Temperature: narrow(r.Settings.Temperature), TopP: narrow(r.Settings.TopP)}
	if n := r.Settings.MaxOutputTokens; n != nil {
		inference.MaxTokens = aws.Int32(int32(min(*n, 1<<30)))
	}
	additional := map[string]any{}
	for name, value := range o.Additional {
		v, err := decoded(value)
		if err != nil {
			return nil, mastra.Invalid("providerOptions.bedrock", "%v", err)
		}
		additional[name] = v
	}
	thinks := false
	if c := o.ReasoningConfig; c != nil && c.Type != "disabled" {
		if c.Type != "enabled" || c.BudgetTokens < 1 || c.BudgetTokens > 1<<30 {
			return nil, mastra.Invalid("providerOptions.bedrock.reasoningConfig", "Its type is enabled or disabled, its budget a number of tokens")
		}
		thinks = true
		additional["thinking"] = map[string]any{"type": "enabled", "budget_tokens": c.BudgetTokens}
		inference.Temperature, inference.TopP = nil, nil // not taken beside it
		if inference.MaxTokens == nil {
			inference.MaxTokens = aws.Int32(afterThinking)
		}
		*inference.MaxTokens += int32(c.BudgetTokens) // the budget counts as output
	}
	if len(additional) > 0 {
		out.AdditionalModelRequestFields = document.NewLazyDocument(additional)
	}
	if inference.MaxTokens != nil || inference.StopSequences != nil || inference.Temperature != nil || inference.TopP != nil {
		out.InferenceConfig = &inference
	}
	if err := offer(out, r, thinks); err != nil {
		return nil, err
	}
	c := conversation{plain: out.ToolConfig == nil}
	for _, message := range r.Messages {
		if err := c.add(message); err != nil {
			return nil, err
		}
	}
	out.System, out.Messages = append(out.System, c.system...), c.messages
	return out, nil
}

// offer tells the model its tools. JSON is asked for as the input of one more tool.
func offer(out *api.ConverseStreamInput, r *mastra.ModelRequest, thinks bool) error {
	var tools types.ToolConfiguration
	if r.ToolChoice.Mode != "none" { // the API has no such choice
		for _, t := range r.Tools {
			if err := addTool(&tools, t.Name(), t.Description, t.Input.JSON()); err != nil {
				return err
			}
		}
	}
	switch {
	case len(tools.Tools) == 0:
	case r.ToolChoice.Tool != "":
		tools.ToolChoice = &types.ToolChoiceMemberTool{Value: types.SpecificToolChoice{Name: aws.String(r.ToolChoice.Tool)}}
	case r.ToolChoice.Mode == "required":
		tools.ToolChoice = &types.ToolChoiceMemberAny{}
	}
	if r.Schema != nil {
		others := len(tools.Tools) > 0
		if err := addTool(&tools, upstream.AnswerTool, "Respond with a JSON object.", r.Schema); err != nil {
			return err
		}
		switch {
		case thinks: // it may not be forced to call a tool
			tools.ToolChoice = nil
			out.System = append(out.System, &types.SystemContentBlockMemberText{Value: "Give your answer by calling the tool " + upstream.AnswerTool + "."})
		case others && tools.ToolChoice == nil:
			tools.ToolChoice = &types.ToolChoiceMemberAny{}
		case !others:
			tools.ToolChoice = &types.ToolChoiceMemberTool{Value: types.SpecificToolChoice{Name: aws.String(upstream.AnswerTool)}}
		}
	}
	if len(tools.Tools) > 0 {
		out.ToolConfig = &tools
	}
	return nil
}

func addTool(to *types.ToolConfiguration, name, description string, input mastra.JSON) error {
	v, err := decoded(input)
	if err != nil {
		return err
	}
	t := types.ToolSpecification{Name: aws.String(name), InputSchema: &types.ToolInputSchemaMemberJson{Value: document.NewLazyDocument(v)}}
	if description != "" { // an empty one is refused
		t.Description = aws.String(description)
	}
	to.Tools = append(to.Tools, &types.ToolMemberToolSpec{Value: t})
	return nil
}

func narrow(v *float64) *float32 {
	if v == nil {
		return nil
	}
	return aws.Float32(float32(*v))
}

// decoded is a JSON value as the SDK takes it: numbers keep all their digits.
func decoded(v mastra.JSON) (out any, err error) {
	numbers := json.UnmarshalFromFunc(func(d *jsontext.Decoder, v *any) error {
		if d.PeekKind() != '0' {
			return errors.ErrUnsupported
		}
		token, err := d.ReadToken()
		*v = smithydocument.Number(token.String())
		return err
	})
	err = json.Unmarshal(v, &out, json.WithUnmarshalers(numbers))
	return out, err
}

// conversation is a prompt in the API's form: of the user and the assistant in turn; tools answer as the user.
type conversation struct {
	plain     bool // no tools are offered, so that earlier calls may be told as texts only
	system    []types.SystemContentBlock
	messages  []types.Message
	documents int
}

func (c *conversation) add(m mastra.PromptMessage) error {
	role := types.ConversationRoleUser
	if m.Role == "assistant" {
		role = types.ConversationRoleAssistant
	}
	for _, p := range m.Parts {
		if m.Role == "system" {
			if p.Type == mastra.PartText && p.Text != "" {
				c.system = append(c.system, &types.SystemContentBlockMemberText{Value: p.Text})
			}
			continue
		}
		b, err := c.convert(p)
		if err != nil {
			return err
		}
		if n := len(c.messages); b == nil {
			continue
		} else if n > 0 && c.messages[n-1].Role == role {
			c.messages[n-1].Content = append(c.messages[n-1].Content, b)
		} else {
			c.messages = append(c.messages, types.Message{Role: role, Content: []types.ContentBlock{b}})
		}
	}
	return nil
}

// convert is the block of a part, nil where it says nothing.
func (c *conversation) convert(p mastra.Part) (types.ContentBlock, error) {
	switch p.Type {
	case mastra.PartText:
		if strings.TrimSpace(p.Text) == "" { // refused by the API
			return nil, nil
		}
		return &types.ContentBlockMemberText{Value: p.Text}, nil
	case mastra.PartReasoning:
		var m metadata
		if p.ProviderOptions != nil {
			if err := schema.Unmarshal(p.ProviderOptions, &m); err != nil {
				return nil, nil //nolint:nilerr // it is another provider's
			}
		}
		switch s := m.Bedrock; {
		case len(s.Redacted) > 0:
			return &types.ContentBlockMemberReasoningContent{Value: &types.ReasoningContentBlockMemberRedactedContent{Value: s.Redacted}}, nil
		case s.Signature != "":
			return &types.ContentBlockMemberReasoningContent{Value: &types.ReasoningContentBlockMemberReasoningText{
				Value: types.ReasoningTextBlock{Text: aws.String(p.Text), Signature: aws.String(s.Signature)}}}, nil
		}
		return nil, nil
	case mastra.PartToolCall:
		input := p.Input
		if input == nil || input.Kind() != '{' {
			input = mastra.JSON("{}")
		}
		if c.plain {
			return &types.ContentBlockMemberText{Value: fmt.Sprintf("[called %s with %s]", p.ToolName, input)}, nil
		}
		v, err := decoded(input)
		if err != nil {
			return nil, mastra.Invalid("messages", "The input of a tool call is no JSON")
		}
		return &types.ContentBlockMemberToolUse{Value: types.ToolUseBlock{ToolUseId: aws.String(p.ToolCallID), Name: aws.String(p.ToolName), Input: document.NewLazyDocument(v)}}, nil
	case mastra.PartToolResult:
		said, failed := upstream.ResultText(p.Output)
		if c.plain {
			return &types.ContentBlockMemberText{Value: fmt.Sprintf("[%s answered %s]", p.ToolName, said)}, nil
		}
		if said == "" {
			said = "null"
		}
		b := types.ToolResultBlock{ToolUseId: aws.String(p.ToolCallID), Content: []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: said}}}
		if failed {
			b.Status = types.ToolResultStatusError
		}
		return &types.ContentBlockMemberToolResult{Value: b}, nil
	case mastra.PartFile, mastra.PartImage:
		return c.attached(p)
	}
	return nil, nil
}

var imageFormats = map[string]types.ImageFormat{"image/png": types.ImageFormatPng, "image/jpeg": types.ImageFormatJpeg, "image/gif": types.ImageFormatGif, "image/webp": types.ImageFormatWebp}

var documentFormats = map[string]types.DocumentFormat{"application/pdf": types.DocumentFormatPdf, "text/csv": types.DocumentFormatCsv, "text/html": types.DocumentFormatHtml,
	"text/plain": types.DocumentFormatTxt, "text/markdown": types.DocumentFormatMd}

func (c *conversation) attached(p mastra.Part) (types.ContentBlock, error) {
	f, err := upstream.Attached(p)
	if err != nil {
		return nil, err
	}
	if f.URL != "" {
		return nil, mastra.Errorf(mastra.CodeInvalid, "This model takes attachments as data only, not as a URL")
	}
	data, err := base64.StdEncoding.DecodeString(f.Base64)
	if err != nil {
		return nil, err
	}
	if format, ok := imageFormats[f.MediaType]; ok {
		return &types.ContentBlockMemberImage{Value: types.ImageBlock{Format: format, Source: &types.ImageSourceMemberBytes{Value: data}}}, nil
	}
	format, ok := documentFormats[f.MediaType]
	if !ok {
		return nil, mastra.Errorf(mastra.CodeInvalid, "This model does not take %q", f.MediaType)
	}
	c.documents++ // its name is ours: the model reads it as if we had said it
	return &types.ContentBlockMemberDocument{Value: types.DocumentBlock{Name: aws.String(fmt.Sprintf("document-%d", c.documents)), Format: format,
		Source: &types.DocumentSourceMemberBytes{Value: data}}}, nil
}
