package server

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
)

// readForm reads the parts of a multipart form by name; the last of one name wins.
func readForm(body []byte, boundary string) (map[string][]byte, error) {
	parts := map[string][]byte{}
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		p, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		if parts[p.FormName()], err = io.ReadAll(p); err != nil {
			return nil, err
		}
	}
}
