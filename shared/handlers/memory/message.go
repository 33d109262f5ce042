package memory

import (
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// SavedMessage is a message to be stored: a stored one {id, role, content: {format: 2, parts}, threadId, resourceId,
// createdAt, type}, or a short one {role, content: "text" or parts}. What is missing is made up.
type SavedMessage struct {
	ID         string      `json:"id,omitempty" maxLength:"256"`
	Role       string      `json:"role" enum:"system,user,assistant,tool,signal"`
	Content    Body        `json:"content"`
	ThreadID   string      `json:"threadId,omitempty" maxLength:"256"`
	ResourceID string      `json:"resourceId,omitempty" maxLength:"256"`
	CreatedAt  mastra.Time `json:"createdAt,omitzero"`
	Type       string      `json:"type,omitempty"`
}

// Body is a message's content as it was sent.
type Body mastra.JSON

func (b *Body) UnmarshalJSON(data []byte) error { *b = Body(mastra.JSON(data).Clone()); return nil }
func (b Body) MarshalJSON() ([]byte, error)     { return b, nil }

func (Body) JSONSchema() *schema.Doc { return mastra.InputContent(nil).JSONSchema() }

// message is what is stored. An object is kept byte for byte, text and parts are put into format 2.
func (s SavedMessage) message(now mastra.Time, resource string) (mastra.Message, error) {
	m := mastra.Message{ID: s.ID, Role: s.Role, ThreadID: s.ThreadID, ResourceID: resource, CreatedAt: s.CreatedAt, Type: s.Type, Content: mastra.JSON(s.Content)}
	if m.ID == "" {
		m.ID = mastra.NewID()
	}
	if m.CreatedAt == 0 {
		m.CreatedAt = now
	}
	if strings.HasPrefix(string(s.Content), "{") {
		return m, nil
	}
	var parts mastra.InputContent
	if err := schema.Unmarshal(s.Content, &parts); err != nil {
		return m, err
	}
	var err error
	m.Content, err = schema.Marshal(mastra.Content{Format: 2, Parts: parts, Content: mastra.PromptMessage{Parts: parts}.Text()})
	return m, err
}

func setMetadata(t *mastra.Thread, metadata map[string]mastra.JSON) (err error) {
	if metadata != nil {
		t.Metadata, err = schema.Marshal(metadata)
	}
	return err
}
