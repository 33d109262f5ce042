// Package model says which language model, and which embedding model, an id "provider/model-id" names.
package model

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/model/anthropic"
	"mastralambda/shared/model/bedrock"
	"mastralambda/shared/model/offline"
	"mastralambda/shared/model/openai"
)

// FromEnv reads MODEL, MODEL_DELAY, MODEL_TIMEOUT, MODEL_PRICES and what says where providers are. A model that they cannot
// make is an error now for MODEL itself, later for the ids that agents name. Each id is made once.
func FromEnv(getenv func(string) string) (mastra.Models, error) {
	delay, errDelay := number(getenv, "MODEL_DELAY", 0, "milliseconds")
	quiet, errQuiet := number(getenv, "MODEL_TIMEOUT", 300, "seconds")
	prices, errPrices := readPrices(getenv("MODEL_PRICES"))
	p := providers{getenv: getenv, delay: time.Duration(delay) * time.Millisecond, aws: bedrock.NewClient(nil)}
	standard := cmp.Or(getenv("MODEL"), "offline/demo")
	_, errModel := p.model(standard)
	if errModel != nil {
		errModel = fmt.Errorf("MODEL: %w", errModel)
	}
	if err := errors.Join(errDelay, errQuiet, errPrices, errModel); err != nil {
		return nil, err
	}
	var made sync.Map
	var count atomic.Int32 // callers may name models: what is kept of them is bounded
	return func(id string) (mastra.LanguageModel, error) {
		id = cmp.Or(id, standard)
		if m, ok := made.Load(id); ok {
			return m.(mastra.LanguageModel), nil
		}
		m, err := p.model(id)
		if err != nil {
			return nil, err
		}
		if price := prices[id]; price != nil || !strings.HasPrefix(id, "offline/") {
			m = attended{m, time.Duration(quiet) * time.Second, price}
		}
		if count.Add(1) > mostKept {
			return m, nil
		}
		kept, _ := made.LoadOrStore(id, m)
		return kept.(mastra.LanguageModel), nil
	}, nil
}

// mostKept is how many models are made once only.
const mostKept = 1000

func number(getenv func(string) string, name string, otherwise int, unit string) (int, error) {
	v := getenv(name)
	if v == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 1<<30 {
		return 0, fmt.Errorf("%s=%q: not a number of %s", name, v, unit)
	}
	return n, nil
}

// providers makes models of the providers that the environment knows.
type providers struct {
	getenv func(string) string
	delay  time.Duration
	aws    *bedrock.Client
}

var errUnknown = errors.New("known are offline/demo, openai/…, anthropic/…, bedrock/…, and name/… where NAME_BASE_URL says where an endpoint is that speaks Chat Completions")

func split(id string) (provider, name string, err error) {
	provider, name, _ = strings.Cut(id, "/")
	if provider == "" || name == "" {
		return "", "", fmt.Errorf("model %q is not provider/model-id", id)
	}
	return provider, name, nil
}

func (p *providers) model(id string) (mastra.LanguageModel, error) {
	provider, name, err := split(id)
	if err != nil {
		return nil, err
	}
	switch provider {
	case "offline":
		if name == "demo" {
			return offline.New(p.delay), nil
		}
	case "bedrock":
		return bedrock.New(name, p.aws), nil
	case "anthropic":
		e, err := p.endpoint(id, provider)
		return anthropic.New(name, anthropic.Config{BaseURL: e.url, APIKey: e.key, Header: e.header}), err
	default:
		e, err := p.endpoint(id, provider)
		return openai.New(name, openai.Config{Provider: provider, BaseURL: e.url, APIKey: e.key, Header: e.header}), err
	}
	return nil, fmt.Errorf("model %q: %w", id, errUnknown)
}

// endpoint is where a provider is, and who asks there.
type endpoint struct {
	url, key string
	header   http.Header
}

var notInNames = regexp.MustCompile(`[^A-Z0-9]+`)

// endpoint reads NAME_BASE_URL, NAME_API_KEY and NAME_HEADERS ("X-Team=a,X-Site=b").
func (p *providers) endpoint(id, provider string) (e endpoint, err error) {
	name := notInNames.ReplaceAllString(strings.ToUpper(provider), "_")
	e = endpoint{url: p.getenv(name + "_BASE_URL"), key: p.getenv(name + "_API_KEY")}
	known := provider == "openai" || provider == "anthropic"
	switch {
	case e.url == "" && !known:
		return e, fmt.Errorf("model %q: %w", id, errUnknown)
	case e.url == "" && e.key == "":
		return e, fmt.Errorf("model %q needs %s_API_KEY, or %s_BASE_URL for an endpoint without a key", id, name, name)
	case e.url != "" && !strings.HasPrefix(e.url, "https://") && !strings.HasPrefix(e.url, "http://"):
		return e, fmt.Errorf("%s_BASE_URL=%q: not a URL of http or https", name, e.url)
	}
	if all := p.getenv(name + "_HEADERS"); all != "" {
		e.header = http.Header{}
		for pair := range strings.SplitSeq(all, ",") {
			key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if !ok || !headerName.MatchString(key) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return e, fmt.Errorf("%s_HEADERS: not a list of Name=value, separated by commas", name) // its values may be secret
			}
			e.header.Set(key, value)
		}
	}
	return e, nil
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
