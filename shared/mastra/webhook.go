package mastra

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Webhook is told when runs of workflows end: a POST, signed with Secret as the Standard Webhooks say, tried again until it
// is answered with a 2xx.
type Webhook struct {
	ID        string // names it among the others; "" where there is one
	URL       string
	Secret    string   // "whsec_" and base64, or any text of at least 16 bytes
	Workflows []string // their ids; nil: all
}

// Wants says whether it is told of a workflow's runs.
func (h *Webhook) Wants(workflow string) bool {
	return h.Workflows == nil || slices.Contains(h.Workflows, workflow)
}

func (h *Webhook) check() error {
	u, err := url.Parse(h.URL)
	local := err == nil && (u.Hostname() == "localhost" || strings.HasPrefix(u.Hostname(), "127.") || u.Hostname() == "::1")
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !local):
		return fmt.Errorf("webhook %q: its URL is none of https", h.ID)
	case len(h.Secret) < 16:
		return fmt.Errorf("webhook %q: its secret has less than 16 bytes", h.ID)
	}
	return nil
}

// Webhook finds one by its ID, nil where there is none.
func (m *Mastra) Webhook(id string) *Webhook {
	for i := range m.Webhooks {
		if m.Webhooks[i].ID == id {
			return &m.Webhooks[i]
		}
	}
	return nil
}

func (m *Mastra) checkWebhooks() error {
	for i := range m.Webhooks {
		h := &m.Webhooks[i]
		if err := h.check(); err != nil {
			return err
		}
		if m.Webhook(h.ID) != h {
			return fmt.Errorf("two webhooks are named %q", h.ID)
		}
	}
	return nil
}

// WorkWebhook is the kind of a Queue's work that tells a webhook of the run that its ID names. Its Data is a WebhookWork.
const WorkWebhook = "webhook"

// WebhookWork says which webhook is told, and of which end: a run that time travel sends back ends again.
type WebhookWork struct {
	Hook string `json:"hook"`
	Pass int    `json:"pass"`
	Sent Time   `json:"sent"`
}
