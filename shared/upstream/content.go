package upstream

import (
	"encoding/base64"
	"net/url"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// ResultText is a tool's result as text: {type, value} holds it, a bare one is it. failed says that the tool failed.
func ResultText(output mastra.JSON) (text string, failed bool) {
	var wrapped struct {
		Type  string      `json:"type"`
		Value mastra.JSON `json:"value"`
	}
	if schema.Unmarshal(output, &wrapped) == nil && wrapped.Type != "" && wrapped.Value != nil {
		output, failed = wrapped.Value, strings.HasPrefix(wrapped.Type, "error")
	}
	if schema.Unmarshal(output, &text) == nil {
		return text, failed
	}
	return string(output), failed
}

// File is an attachment: either at a URL, or its bytes in base64.
type File struct {
	MediaType string
	URL       string
	Base64    string
}

// Attached reads a part of type file or image. An attachment that makes no sense is a CodeInvalid.
func Attached(p mastra.Part) (f File, err error) {
	source := p.Image
	if source == nil {
		source = p.Data
	}
	wrong := mastra.Errorf(mastra.CodeInvalid, "An attachment is a URL of http(s), a data URL, or base64 with its media type")
	var text string
	if schema.Unmarshal(source, &text) != nil || text == "" {
		return f, wrong
	}
	f.MediaType = p.MediaType
	switch {
	case strings.HasPrefix(text, "data:"):
		head, data, ok := strings.Cut(text[len("data:"):], ",")
		media, encoded := strings.CutSuffix(head, ";base64")
		if !ok || !encoded {
			return f, wrong
		}
		if media, _, _ = strings.Cut(media, ";"); media != "" {
			f.MediaType = media
		}
		f.Base64 = data
	case strings.HasPrefix(text, "https://"), strings.HasPrefix(text, "http://"):
		if _, e := url.Parse(text); e != nil {
			return f, wrong
		}
		f.URL = text
		return f, nil
	default:
		f.Base64 = text
	}
	if f.MediaType == "" && p.Type == mastra.PartImage {
		f.MediaType = "image/png"
	}
	if f.MediaType == "" {
		return f, wrong
	}
	if _, e := base64.StdEncoding.DecodeString(f.Base64); e != nil {
		return f, wrong
	}
	return f, nil
}

// Image says whether the attachment is a picture.
func (f File) Image() bool { return f.MediaType == "" || strings.HasPrefix(f.MediaType, "image/") }

// DataURL is the attachment as a URL.
func (f File) DataURL() string {
	if f.URL != "" {
		return f.URL
	}
	return "data:" + f.MediaType + ";base64," + f.Base64
}
