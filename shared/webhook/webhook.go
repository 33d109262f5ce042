// Package webhook tells webhooks that runs have ended, as the Standard Webhooks (standardwebhooks.com) say.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

const (
	timeout  = 15 * time.Second
	notEnded = 2 * time.Second // until the next look at a run whose end is not stored yet
)

// Event is the body of a request.
type Event struct {
	Type      string      `json:"type"` // "workflow.run.success", "…failed", "…canceled"
	Timestamp mastra.Time `json:"timestamp"`
	Data      Ended       `json:"data"`
}

// Ended is a run that has ended.
type Ended struct {
	WorkflowID string           `json:"workflowId"`
	RunID      string           `json:"runId"`
	ResourceID string           `json:"resourceId,omitempty"`
	Status     mastra.RunStatus `json:"status"`
	Result     mastra.JSON      `json:"result,omitzero"`
	Error      *mastra.RunError `json:"error,omitempty"`
	CreatedAt  mastra.Time      `json:"createdAt"`
	EndedAt    mastra.Time      `json:"endedAt"`
}

// Sender delivers. It follows no redirects: a signature is for one place.
type Sender struct {
	m      *mastra.Mastra
	client *http.Client
}

// New makes a Sender for the webhooks of m.
func New(m *mastra.Mastra) *Sender {
	return &Sender{m, &http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Handle delivers one piece of work of kind mastra.WorkWebhook: it is a queue's handler. An answer that is no 2xx is an
// error, so that the queue tries again, and in the end keeps the work among the dead; a 410 ends it.
func (s *Sender) Handle(ctx context.Context, w mastra.Work) error {
	var what mastra.WebhookWork
	if err := schema.Unmarshal(w.Data, &what); err != nil {
		return err
	}
	hook := s.m.Webhook(what.Hook)
	if hook == nil {
		return fmt.Errorf("there is no webhook %q any more", what.Hook)
	}
	ctx = mastra.WithPrincipal(ctx, &mastra.Principal{Tenant: w.Tenant})
	run, err := s.m.Storage.Run(ctx, w.ID)
	switch {
	case mastra.CodeOf(err) == mastra.CodeNotFound: // it was deleted
		return nil
	case err != nil:
		return err
	case run.Pass != what.Pass, run.Status.Rests() && !run.Status.Ended() && s.m.Now().Sub(what.Sent.Time()) > mastra.WriteWithin:
		return nil // that end is past, or was not stored: the next one sends work of its own
	case !run.Status.Ended():
		return &mastra.Again{After: notEnded}
	}
	body, err := schema.Marshal(Event{Type: "workflow.run." + string(run.Status), Timestamp: run.UpdatedAt, Data: Ended{WorkflowID: run.WorkflowID, RunID: run.ID,
		ResourceID: run.ResourceID, Status: run.Status, Result: run.Result, Error: run.Error, CreatedAt: run.CreatedAt, EndedAt: run.UpdatedAt}})
	if err != nil {
		return err
	}
	return s.post(ctx, hook, messageID(w, what), body)
}

// messageID is the same for every attempt to tell one webhook of one end: the receiver drops what it has seen.
func messageID(w mastra.Work, what mastra.WebhookWork) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{w.Tenant, w.ID, what.Hook, strconv.Itoa(what.Pass)}, "\x00")))
	return "msg_" + hex.EncodeToString(sum[:16])
}

func (s *Sender) post(ctx context.Context, hook *mastra.Webhook, id string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(s.m.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("webhook-id", id)
	r.Header.Set("webhook-timestamp", at)
	r.Header.Set("webhook-signature", Sign(hook.Secret, id, at, body))
	answer, err := s.client.Do(r)
	if err != nil {
		return fmt.Errorf("webhook %q is not reached: %w", hook.ID, err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	switch {
	case answer.StatusCode/100 == 2 || answer.StatusCode == http.StatusGone:
		return nil
	}
	return fmt.Errorf("webhook %q answers %d", hook.ID, answer.StatusCode)
}

// Sign is the signature of a body: HMAC-SHA256 over id, time and body. A secret that begins with "whsec_" is base64.
func Sign(secret, id, at string, body []byte) string {
	key := []byte(secret)
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if k, err := base64.StdEncoding.DecodeString(text); err == nil {
			key = k
		}
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(id + "." + at + "."))
	h.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// FromEnv reads WEBHOOK_URL and WEBHOOK_SECRET; nil where neither is set.
func FromEnv(getenv func(string) string) (*mastra.Webhook, error) {
	h := &mastra.Webhook{URL: getenv("WEBHOOK_URL"), Secret: getenv("WEBHOOK_SECRET")}
	switch {
	case h.URL == "" && h.Secret == "":
		return nil, nil //nolint:nilnil // there is none
	case h.URL == "":
		return nil, fmt.Errorf("WEBHOOK_URL is not set, as WEBHOOK_SECRET is")
	case len(h.Secret) < 16:
		return nil, fmt.Errorf("WEBHOOK_SECRET: it has less than 16 bytes")
	}
	return h, nil
}
