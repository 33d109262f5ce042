// Package model says which language model an id "provider/model-id" names.
package model

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/model/offline"
	"mastralambda/shared/model/openai"
)

// FromEnv reads MODEL, MODEL_DELAY, OPENAI_API_KEY and OPENAI_BASE_URL. A model that they cannot make is an error now for
// MODEL itself, later for the ids that agents name. Each id is made once.
func FromEnv(getenv func(string) string) (mastra.Models, error) {
	delay := 0
	if v := getenv("MODEL_DELAY"); v != "" {
		var err error
		if delay, err = strconv.Atoi(v); err != nil || delay < 0 {
			return nil, fmt.Errorf("MODEL_DELAY=%q: not a number of milliseconds", v)
		}
	}
	standard := getenv("MODEL")
	if standard == "" {
		standard = "offline/demo"
	}
	create := func(id string) (mastra.LanguageModel, error) {
		provider, name, _ := strings.Cut(id, "/")
		switch {
		case name == "":
			return nil, fmt.Errorf("model %q is not provider/model-id", id)
		case provider == "offline" && name == "demo":
			return offline.New(time.Duration(delay) * time.Millisecond), nil
		case provider == "openai" && getenv("OPENAI_API_KEY") == "" && getenv("OPENAI_BASE_URL") == "":
			return nil, fmt.Errorf("model %q needs OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint without a key", id)
		case provider == "openai":
			return openai.New(name, openai.Config{BaseURL: getenv("OPENAI_BASE_URL"), APIKey: getenv("OPENAI_API_KEY")}), nil
		}
		return nil, fmt.Errorf("model %q: known are offline/demo and openai/…", id)
	}
	if _, err := create(standard); err != nil {
		return nil, fmt.Errorf("MODEL: %w", err)
	}
	var made sync.Map
	return func(id string) (mastra.LanguageModel, error) {
		if id == "" {
			id = standard
		}
		if m, ok := made.Load(id); ok {
			return m.(mastra.LanguageModel), nil
		}
		m, err := create(id)
		if err != nil {
			return nil, err
		}
		kept, _ := made.LoadOrStore(id, m)
		return kept.(mastra.LanguageModel), nil
	}, nil
}
