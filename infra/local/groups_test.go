package local_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"mastralambda/infra/apitest"
	"mastralambda/infra/local"
	"mastralambda/shared/app"
)

func TestGroups(t *testing.T) {
	dir := t.TempDir()
	p, err := local.Open(local.Options{App: app.New, Getenv: func(name string) string { return map[string]string{"DATA_DIR": dir}[name] }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	call := func(_ testing.TB, method, path, body string) (int, string) {
		r := httptest.NewRequest(method, "http://localhost:3000"+path, strings.NewReader(body))
		r.RequestURI = path
		w := httptest.NewRecorder()
		p.Handler.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	apitest.Groups(t, call, nil)
	apitest.Journeys(t, call, nil)
	apitest.Rest(t, call, nil)
}
